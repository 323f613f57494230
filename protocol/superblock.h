/* SPDX-License-Identifier: MIT */
/*
 * The superblock: the 16 bytes that open a connection, with magic, version and extensions.
 *
 *   0-3   magic
 *   4-6   version: major, minor, patch
 *   7     extension level, 0 for a plain peer
 *   8-11  feature bits, big-endian; 0 for a plain peer
 *   12-15 zeros
 *
 * A feature is enabled if both sides announce it. Plain peers send zeros and ignore bytes 7-15.
 */
#ifndef AX_PROTOCOL_SUPERBLOCK_H
#define AX_PROTOCOL_SUPERBLOCK_H

#include <stdint.h>

#define AX_SUPERBLOCK_SIZE 16
#define AX_MAGIC 0xe35b9e78u           /* a peer: the CRC-32 of "across" */
#define AX_MAGIC_BOOTSTRAP 0xe54e6d01u /* a bare Python that requests an engine: the CRC-32 of "acrossbios" */

#define AX_EXTENSION_LEVEL 1u
#define AX_FEATURE_REASON 0x00000001u /* GOODBYE ends with `bytes`: the reason, in UTF-8 */
#define AX_FEATURE_NESTED 0x00000002u /* requests end with the call that is being served: struct ax_message, within */
#define AX_FEATURE_OPERATIONS 0x00000004u /* CREATE, REPLICATE, COPY, METHOD; SELF and REFERENCE */
#define AX_FEATURE_BUFFERS 0x00000008u    /* pickles with out-of-band buffers; heads contain their kinds */
#define AX_FEATURE_FLOW 0x00000010u       /* CHUNK and CREDIT; GREETING contains window and max_calls */
#define AX_FEATURE_DESCRIBED 0x00000020u  /* proxied objects may be described by more than methods: docs/protocol.md */
#define AX_FEATURE_LIMITS 0x00000040u     /* GREETING contains the limits of its sender for one message */
#define AX_FEATURE_DETAILS 0x00000080u    /* exception records may have details besides the pickle */
#define AX_FEATURES_ALL 0x000000ffu       /* all features of this implementation */

struct ax_version {
    uint8_t major;
    uint8_t minor;
    uint8_t patch;
};

struct ax_superblock {
    uint32_t magic;
    struct ax_version version;
    uint8_t level;
    uint32_t features;
};

void ax_superblock_encode(unsigned char out[AX_SUPERBLOCK_SIZE], const struct ax_superblock *superblock);

/* Never fails; the session checks the fields. */
void ax_superblock_decode(struct ax_superblock *superblock, const unsigned char in[AX_SUPERBLOCK_SIZE]);

#endif
