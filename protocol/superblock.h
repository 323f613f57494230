/* SPDX-License-Identifier: MIT */
/*
 * The 16 bytes that open a connection: who speaks, in which version, with which extensions.
 *
 *   0-3   magic
 *   4-6   version: major, minor, patch
 *   7     extension level, 0 for a plain peer
 *   8-11  feature bits, big-endian; 0 for a plain peer
 *   12-15 zeros
 *
 * A feature is on when both sides announce it. Plain peers send zeros and ignore what they get in bytes 7-15.
 */
#ifndef AX_PROTOCOL_SUPERBLOCK_H
#define AX_PROTOCOL_SUPERBLOCK_H

#include <stdint.h>

#define AX_SUPERBLOCK_SIZE 16
#define AX_MAGIC 0xe35b9e78u           /* a peer: the CRC-32 of "across" */
#define AX_MAGIC_BOOTSTRAP 0xe54e6d01u /* a bare Python that asks for an engine: the CRC-32 of "acrossbios" */

#define AX_EXTENSION_LEVEL 1u
#define AX_FEATURE_REASON 0x00000001u /* GOODBYE ends with `bytes`: why, in UTF-8, for the other side's error text */
#define AX_FEATURE_NESTED                                                                                              \
    0x00000002u /* requests end with the call that is being served: see struct ax_message, within */
#define AX_FEATURE_OPERATIONS 0x00000004u /* CREATE, REPLICATE, COPY, METHOD; SELF and REFERENCE */
#define AX_FEATURE_BUFFERS 0x00000008u    /* pickles with buffers beside them; heads say what kinds they are of */
#define AX_FEATURE_FLOW 0x00000010u       /* CHUNK and CREDIT; GREETING tells window and calls */
#define AX_FEATURE_DESCRIBED 0x00000020u  /* what becomes a proxy may say more than its methods: docs/protocol.md */
#define AX_FEATURE_LIMITS 0x00000040u     /* GREETING tells how much its sender takes in one message */
#define AX_FEATURE_DETAILS 0x00000080u    /* exceptions may carry more than pickle makes of them */
#define AX_FEATURES_ALL 0x000000ffu       /* what this session understands */

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

/* Never fails: what the fields mean is the session's business. */
void ax_superblock_decode(struct ax_superblock *superblock, const unsigned char in[AX_SUPERBLOCK_SIZE]);

#endif
