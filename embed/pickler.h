/* SPDX-License-Identifier: MIT */
/*
 * Pickling without a copy of what is large.
 *
 * pickle's own Pickler hands bytes of 64 KiB and more to the file that it writes to as they are. Ours is a file that
 * gathers them: a *parcel* is the pickle in pieces, copied where they are small, and otherwise in the memory of the
 * objects. Where the peer understands it, bytes, bytearrays and buffers leave the pickle altogether and stand beside
 * it, each in a frame of its own (docs/protocol.md, section 6), so that the peer needs no copy either.
 *
 * With the GIL, except where it is said. A parcel lives until the session has sent all of it.
 */
#ifndef AX_EMBED_PICKLER_H
#define AX_EMBED_PICKLER_H

#include <stdbool.h>

#include "embed/binding.h"

/*
 * Buffers beside one pickle; what is more stays in it. With head and pickle below the frames that peers take in a
 * message.
 */
#define AX_PARCEL_APART_MAX 255

enum ax_parcel_flag {
    AX_PARCEL_APART = 1,      /* buffers may stand beside the pickle; it is written in protocol 5 then, else in 4 */
    AX_PARCEL_BYTEARRAYS = 2, /* the memory of bytearrays may be sent: nobody needs to resize them meanwhile */
};

struct ax_parcel;

/*
 * Whether a value may have something in it that is worth a parcel. Looks at some objects at most: `true` when it can't
 * say.
 */
bool ax_may_be_large(PyObject *value);

/* Pickles a value; `flags`: enum ax_parcel_flag. NULL with pickle's own exception set. */
struct ax_parcel *ax_parcel_new(struct ax_module *module, struct ax_engine *engine, PyObject *value, unsigned flags);

/* How many buffers, and kinds of frames beside the pickle, ax_parcel_fill() stores. */
size_t ax_parcel_buffers(const struct ax_parcel *parcel);
size_t ax_parcel_kinds(const struct ax_parcel *parcel);

/* Makes the buffers of a cargo. They keep the parcel's memory alive, and may be dropped without the GIL. Once. */
void ax_parcel_fill(struct ax_parcel *parcel, struct ax_buffer *buffers, uint64_t *kinds);

/* Drops the caller's share. */
void ax_parcel_free(struct ax_parcel *parcel);

/* The Sink type: the file that pickles are written to. */
extern PyType_Spec ax_sink_spec;

#endif
