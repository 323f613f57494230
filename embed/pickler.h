/* SPDX-License-Identifier: MIT */
/*
 * Pickling without a copy of what is large.
 *
 * pickle's Pickler passes bytes of 64 KiB and more to its file as they are. Ours is a file that collects them: a
 * segmented pickle consists of copies of what is small, and of references to the memory of large objects. Where the
 * peer supports it, bytes, bytearrays and buffers are sent out of band, each in a frame of its own behind the pickle
 * (docs/protocol.md, section 6), so that the receiver copies nothing either.
 *
 * All functions need the GIL, except where noted. A segmented pickle lives until the session has sent all of it.
 */
#ifndef AX_EMBED_PICKLER_H
#define AX_EMBED_PICKLER_H

#include <stdbool.h>

#include "embed/binding.h"

/*
 * Out-of-band buffers of one pickle; further ones stay in it. Together with head and pickle they are fewer than the
 * frames that a peer accepts in a message.
 */
#define AX_PICKLE_OUT_OF_BAND_MAX 255

enum ax_pickle_flag {
    AX_PICKLE_OUT_OF_BAND = 1,      /* send buffers out of band, in pickle protocol 5; otherwise protocol 4 */
    AX_PICKLE_LOCKS_BYTEARRAYS = 2, /* send bytearrays from their memory: nobody resizes them until then */
};

struct ax_segmented_pickle;

/* Whether a segmented pickle may pay for this value. Inspects a bounded number of objects, and is true if in doubt. */
bool ax_may_be_large(PyObject *value);

/* Pickles a value; `flags`: enum ax_pickle_flag. NULL with pickle's own exception set. */
struct ax_segmented_pickle *ax_segmented_pickle_new(struct ax_module *module, struct ax_engine *engine, PyObject *value,
                                                    unsigned flags);

/* Number of buffers, and of kinds of out-of-band buffers, that ax_segmented_pickle_fill() stores. */
size_t ax_segmented_pickle_buffer_count(const struct ax_segmented_pickle *pickle);
size_t ax_segmented_pickle_kind_count(const struct ax_segmented_pickle *pickle);

/* Fills in the buffers of a payload, once. Each holds a reference to the pickle; releasing it needs no GIL. */
void ax_segmented_pickle_fill(struct ax_segmented_pickle *pickle, struct ax_buffer *buffers, uint64_t *kinds);

/* Drops the caller's reference. NULL is fine. */
void ax_segmented_pickle_free(struct ax_segmented_pickle *pickle);

/* The Sink type: the file that pickles are written to. */
extern PyType_Spec ax_sink_spec;

#endif
