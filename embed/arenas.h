/* SPDX-License-Identifier: MIT */
/*
 * Memory of Python objects that forks cheaply: in pages of 2 MiB, where the kernel has them.
 *
 * A fork copies the page tables of its parent, and the end of a process takes them apart: for each page that the parent
 * has written to, large or small. Python asks the system for its small objects' memory in arenas of 256 KiB or 1 MiB,
 * wherever there is room. Here those of the start lie side by side, so that the kernel can make large pages of them
 * before the first fork. A child that writes to one copies 4 KiB, as it would otherwise.
 */
#ifndef AX_EMBED_ARENAS_H
#define AX_EMBED_ARENAS_H

/* Has Python put its next arenas side by side, up to a bound. Before the interpreter is initialized. Never fails. */
void ax_arenas_begin(void);

/*
 * Makes large pages of what ax_arenas_begin() has collected; later arenas are where they would be without it. Has no
 * effect on kernels before Linux 6.1. With the GIL, in a process of one thread.
 */
void ax_arenas_end(void);

#endif
