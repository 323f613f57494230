/* SPDX-License-Identifier: MIT */
#include "embed/objects.h"

#include <stdlib.h>

#include "protocol/error.h"

void ax_objects_init(struct ax_objects *objects)
{
    pthread_mutex_init(&objects->lock, NULL);
    ax_idmap_init(&objects->map);
    objects->next_id = 0;
}

int ax_objects_put(struct ax_objects *objects, void *value, uint64_t *id)
{
    struct ax_object *object = calloc(1, sizeof *object);

    if (object == NULL)
        return AX_ENOMEM;
    object->value = value;
    pthread_mutex_lock(&objects->lock);
    object->id = objects->next_id;
    int error = objects->map.count >= AX_OBJECTS_MAX ? AX_EFULL : ax_idmap_put(&objects->map, object->id, object);
    if (error == 0)
        objects->next_id++;
    pthread_mutex_unlock(&objects->lock);
    if (error != 0) {
        free(object);
        return error;
    }
    *id = object->id;
    return 0;
}

void *ax_objects_get(struct ax_objects *objects, uint64_t id)
{
    pthread_mutex_lock(&objects->lock);
    struct ax_object *object = ax_idmap_get(&objects->map, id);
    void *value = object != NULL ? object->value : NULL;
    pthread_mutex_unlock(&objects->lock);
    return value;
}

int ax_objects_doom(struct ax_objects *objects, uint64_t id, struct ax_object **list)
{
    int error = AX_ERANGE;

    pthread_mutex_lock(&objects->lock);
    struct ax_object *object = ax_idmap_get(&objects->map, id);
    if (object != NULL && !object->doomed) {
        object->doomed = true;
        object->next = *list;
        *list = object;
        error = 0;
    }
    pthread_mutex_unlock(&objects->lock);
    return error;
}

void ax_objects_take(struct ax_objects *objects, struct ax_object *list)
{
    pthread_mutex_lock(&objects->lock);
    for (; list != NULL; list = list->next)
        ax_idmap_take(&objects->map, list->id);
    pthread_mutex_unlock(&objects->lock);
}

struct ax_object *ax_objects_take_id(struct ax_objects *objects, uint64_t id)
{
    pthread_mutex_lock(&objects->lock);
    struct ax_object *object = ax_idmap_get(&objects->map, id);
    if (object != NULL && !object->doomed)
        ax_idmap_take(&objects->map, id);
    else
        object = NULL;
    pthread_mutex_unlock(&objects->lock);
    return object;
}

struct ax_object *ax_objects_take_any(struct ax_objects *objects)
{
    struct ax_object *object;

    pthread_mutex_lock(&objects->lock);
    do
        object = ax_idmap_take_any(&objects->map);
    while (object != NULL && object->doomed); /* doomed objects belong to the list that they are in */
    pthread_mutex_unlock(&objects->lock);
    return object;
}

size_t ax_objects_count(struct ax_objects *objects)
{
    pthread_mutex_lock(&objects->lock);
    size_t count = objects->map.count;
    pthread_mutex_unlock(&objects->lock);
    return count;
}

void ax_objects_fini(struct ax_objects *objects)
{
    ax_idmap_fini(&objects->map);
    pthread_mutex_destroy(&objects->lock);
}
