/* SPDX-License-Identifier: MIT */
#include "protocol/superblock.h"

#include <string.h>

#include "protocol/head.h"

void ax_superblock_encode(unsigned char out[AX_SUPERBLOCK_SIZE], const struct ax_superblock *superblock)
{
    memset(out, 0, AX_SUPERBLOCK_SIZE);
    ax_put_u32(out, superblock->magic);
    out[4] = superblock->version.major;
    out[5] = superblock->version.minor;
    out[6] = superblock->version.patch;
    out[7] = superblock->level;
    ax_put_u32(out + 8, superblock->features);
}

void ax_superblock_decode(struct ax_superblock *superblock, const unsigned char in[AX_SUPERBLOCK_SIZE])
{
    superblock->magic = ax_get_u32(in);
    superblock->version = (struct ax_version){in[4], in[5], in[6]};
    superblock->level = in[7];
    superblock->features = ax_get_u32(in + 8);
}
