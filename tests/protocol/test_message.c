/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include "alloc.h"
#include "protocol/message.h"
#include "wire.h"

static struct ax_message *message;

static int set_up(void **state)
{
    (void)state;
    message = ax_message_new();
    assert_non_null(message);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ax_message_free(message);
    assert_int_equal(alloc_blocks(), 0);
    return 0;
}

static void decode(const void *head, size_t size)
{
    assert_int_equal(ax_buffer_append(&message->head, head, size), 0);
    ax_message_decode(message);
}

static void assert_ids(struct ax_ids ids, const uint64_t *expected, size_t count)
{
    uint64_t id;

    for (size_t i = 0; i < count; i++) {
        assert_true(ax_ids_next(&ids, &id));
        assert_true(id == expected[i]);
    }
    assert_false(ax_ids_next(&ids, &id));
}

static void a_greeting_has_a_timeout(void **state)
{
    (void)state;
    decode("\x00\xfd\x03\xe8", 4);
    assert_int_equal(message->type, AX_GREETING);
    assert_int_equal(message->timeout_ms, 1000);
    assert_ids(message->ids, NULL, 0);
}

static void a_call_has_an_id_and_references(void **state)
{
    (void)state;
    decode("\x01\x07\x02\x05\xfd\x01\x00", 7);
    assert_int_equal(message->type, AX_APPLY);
    assert_int_equal(message->call, 7);
    assert_int_equal(message->ids.count, 2);
    assert_ids(message->ids, (uint64_t[]){5, 256}, 2);
}

static void a_result_has_a_kind_and_references(void **state)
{
    (void)state;
    decode("\x02\x07\x03\x01\x09", 5);
    assert_int_equal(message->type, AX_RESULT);
    assert_int_equal(message->call, 7);
    assert_int_equal(message->kind, AX_RESULT_ERROR);
    assert_ids(message->ids, (uint64_t[]){9}, 1);
}

static void an_operation_error_has_a_text_and_no_references(void **state)
{
    (void)state;
    decode("\x02\x07\x04\x03why", 7);
    assert_int_equal(message->kind, AX_RESULT_OPERATION_ERROR);
    assert_int_equal(message->text_size, 3);
    assert_memory_equal(message->text, "why", 3);
    assert_ids(message->ids, NULL, 0);
}

static void a_result_of_an_unknown_kind_has_nothing_more(void **state)
{
    (void)state;
    decode("\x02\x07\x09\x03why", 7);
    assert_int_equal(message->kind, 9);
    assert_int_equal(message->text_size, 0);
    assert_ids(message->ids, NULL, 0);
}

static void a_goodbye_may_have_a_reason(void **state)
{
    (void)state;
    decode("\3\4done", 6);
    assert_int_equal(message->type, AX_GOODBYE);
    assert_int_equal(message->text_size, 4);
    assert_memory_equal(message->text, "done", 4);
}

static void released_objects_are_listed(void **state)
{
    (void)state;
    decode("\x04\x03\x01\x02\x03", 5);
    assert_int_equal(message->type, AX_DEL_OBJS);
    assert_ids(message->ids, (uint64_t[]){1, 2, 3}, 3);
}

static void fields_behind_the_known_ones_are_ignored(void **state)
{
    (void)state;
    decode("\x04\x01\x07\x63\x63\x63", 6);
    assert_ids(message->ids, (uint64_t[]){7}, 1);
}

static void an_empty_head_is_a_greeting_without_a_timeout(void **state)
{
    (void)state;
    ax_message_decode(message);
    assert_int_equal(message->type, AX_GREETING);
    assert_int_equal(message->timeout_ms, 0);
    assert_ids(message->ids, NULL, 0);
}

static void a_type_that_nobody_knows_is_kept_as_it_is(void **state)
{
    (void)state;
    decode("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", 11);
    assert_true(message->type == UINT64_MAX);
    assert_ids(message->ids, NULL, 0);
}

static void a_list_ends_with_its_head_whatever_its_count(void **state)
{
    (void)state;
    decode("\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", 12);
    assert_true(message->ids.count == UINT64_MAX);
    assert_ids(message->ids, (uint64_t[]){1, 2}, 2);
}

static void a_list_can_be_read_twice_by_copying_it(void **state)
{
    (void)state;
    decode("\x04\x02\x08\x09", 4);
    assert_ids(message->ids, (uint64_t[]){8, 9}, 2);
    assert_ids(message->ids, (uint64_t[]){8, 9}, 2);
}

static void buffers_are_added_behind_each_other_and_freed_with_the_message(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct ax_buffer *buffer = ax_message_add_buffer(message);
        assert_non_null(buffer);
        assert_int_equal(ax_buffer_append(buffer, &i, sizeof i), 0);
    }
    assert_int_equal(message->buffer_count, 100);
    for (unsigned i = 0; i < 100; i++)
        assert_memory_equal(message->buffers[i].data, &i, sizeof i);
}

static void without_memory_no_buffer_is_added(void **state)
{
    (void)state;
    assert_non_null(ax_message_add_buffer(message));
    alloc_fail_at(1);
    assert_null(ax_message_add_buffer(message));
    assert_int_equal(message->buffer_count, 1);
    alloc_fail_at(1);
    assert_null(ax_message_new());
}

static void memory_counts_head_and_buffers(void **state)
{
    static const char bytes[1000];

    (void)state;
    size_t empty = ax_message_memory(message);
    assert_true(empty >= sizeof *message);
    ax_buffer_append(&message->head, bytes, 200);
    assert_int_equal(ax_message_memory(message), empty + 200);
    ax_buffer_append(ax_message_add_buffer(message), bytes, 1000);
    assert_int_equal(ax_message_memory(message), empty + 200 + sizeof(struct ax_buffer) + 1000);
}

static void freeing_no_message_does_nothing(void **state)
{
    (void)state;
    ax_message_free(NULL);
}

static void ids_are_written_as_they_are_read(void **state)
{
    const uint64_t ids[] = {0, 0xfc, 0xfd, 0x10000, UINT64_MAX};
    unsigned char out[40];

    (void)state;
    size_t size = ax_ids_size(ids, COUNT_OF(ids));
    assert_int_equal(size, 1 + 1 + 1 + 3 + 5 + 9);
    assert_ptr_equal(ax_put_ids(out, ids, COUNT_OF(ids)), out + size);
    ax_buffer_append(&message->head, "\x04", 1);
    decode(out, size);
    assert_ids(message->ids, ids, COUNT_OF(ids));
    assert_int_equal(ax_ids_size(NULL, 0), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_greeting_has_a_timeout),
        TEST(a_call_has_an_id_and_references),
        TEST(a_result_has_a_kind_and_references),
        TEST(an_operation_error_has_a_text_and_no_references),
        TEST(a_result_of_an_unknown_kind_has_nothing_more),
        TEST(a_goodbye_may_have_a_reason),
        TEST(released_objects_are_listed),
        TEST(fields_behind_the_known_ones_are_ignored),
        TEST(an_empty_head_is_a_greeting_without_a_timeout),
        TEST(a_type_that_nobody_knows_is_kept_as_it_is),
        TEST(a_list_ends_with_its_head_whatever_its_count),
        TEST(a_list_can_be_read_twice_by_copying_it),
        TEST(buffers_are_added_behind_each_other_and_freed_with_the_message),
        TEST(without_memory_no_buffer_is_added),
        TEST(memory_counts_head_and_buffers),
        TEST(freeing_no_message_does_nothing),
        TEST(ids_are_written_as_they_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
