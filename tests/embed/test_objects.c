/* SPDX-License-Identifier: MIT */
#include "tests/embed/testing.h"

#include "embed/objects.h"
#include "protocol/error.h"

static int values[4];

static int set_up(void **state)
{
    struct ax_objects *objects = malloc(sizeof *objects);

    ax_objects_init(objects);
    *state = objects;
    return 0;
}

static int tear_down(void **state)
{
    struct ax_objects *objects = *state;
    struct ax_object *object;

    while ((object = ax_objects_take_any(objects)) != NULL)
        free(object);
    ax_objects_fini(objects);
    free(objects);
    return 0;
}

static void gives_each_object_a_fresh_id(void **state)
{
    struct ax_objects *objects = *state;
    uint64_t first, second;

    assert_int_equal(ax_objects_put(objects, &values[0], &first), 0);
    free(ax_objects_take_id(objects, first));
    assert_int_equal(ax_objects_put(objects, &values[0], &second), 0);
    assert_true(first != second);
    assert_null(ax_objects_get(objects, first));
    assert_ptr_equal(ax_objects_get(objects, second), &values[0]);
}

static void a_doomed_object_is_found_until_it_is_taken(void **state)
{
    struct ax_objects *objects = *state;
    struct ax_object *doomed = NULL;
    uint64_t id;

    ax_objects_put(objects, &values[1], &id);
    assert_int_equal(ax_objects_doom(objects, id, &doomed), 0);
    assert_ptr_equal(ax_objects_get(objects, id), &values[1]);
    ax_objects_take(objects, doomed);
    assert_null(ax_objects_get(objects, id));
    assert_ptr_equal(doomed->value, &values[1]);
    assert_null(doomed->next);
    free(doomed);
}

static void a_doomed_object_is_not_taken_by_its_id(void **state)
{
    struct ax_objects *objects = *state;
    struct ax_object *doomed = NULL;
    uint64_t id;

    ax_objects_put(objects, &values[1], &id);
    ax_objects_doom(objects, id, &doomed);
    assert_null(ax_objects_take_id(objects, id));
    assert_null(ax_objects_take_id(objects, id + 1));
    ax_objects_take(objects, doomed);
    free(doomed);
}

static void an_object_is_doomed_once(void **state)
{
    struct ax_objects *objects = *state;
    struct ax_object *doomed = NULL;
    uint64_t id;

    ax_objects_put(objects, &values[1], &id);
    assert_int_equal(ax_objects_doom(objects, id, &doomed), 0);
    assert_int_equal(ax_objects_doom(objects, id, &doomed), AX_ERANGE);
    assert_int_equal(ax_objects_doom(objects, id + 1, &doomed), AX_ERANGE);
    ax_objects_take(objects, doomed);
    free(doomed);
}

static void emptying_the_table_leaves_doomed_objects_to_their_list(void **state)
{
    struct ax_objects *objects = *state;
    struct ax_object *doomed = NULL;
    uint64_t ids[3];

    for (int i = 0; i < 3; i++)
        ax_objects_put(objects, &values[i], &ids[i]);
    ax_objects_doom(objects, ids[1], &doomed);
    int taken = 0;
    struct ax_object *object;
    while ((object = ax_objects_take_any(objects)) != NULL) {
        assert_true(object->id != ids[1]);
        free(object);
        taken++;
    }
    assert_int_equal(taken, 2);
    assert_int_equal(ax_objects_count(objects), 0);
    ax_objects_take(objects, doomed); /* no longer in the table: harmless */
    assert_int_equal(doomed->id, ids[1]);
    free(doomed);
}

static void a_peer_holds_no_more_than_the_limit(void **state)
{
    struct ax_objects *objects = *state;
    uint64_t id;

    for (int i = 0; i < AX_OBJECTS_MAX; i++)
        assert_int_equal(ax_objects_put(objects, &values[0], &id), 0);
    assert_int_equal(ax_objects_put(objects, &values[0], &id), AX_EFULL);
    free(ax_objects_take_id(objects, id));
    assert_int_equal(ax_objects_put(objects, &values[0], &id), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_each_object_a_fresh_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_doomed_object_is_found_until_it_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_doomed_object_is_not_taken_by_its_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_object_is_doomed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(emptying_the_table_leaves_doomed_objects_to_their_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_holds_no_more_than_the_limit, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
