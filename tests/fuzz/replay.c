/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over existing files: all those in the given folders, of which there must be some. */
#include <dirent.h>
#include <stdbool.h>

#include "fuzz.h"

#define FILE_MAX (1u << 20)

static bool replay_file(const char *folder, const char *name)
{
    /* On the heap, and exactly as large as the file: so that a sanitizer detects reads past the end. */
    uint8_t *data = malloc(FILE_MAX);
    char path[4096];
    bool done = false;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file != NULL && data != NULL) {
        size_t size = fread(data, 1, FILE_MAX, file);
        uint8_t *fitting = realloc(data, size != 0 ? size : 1);
        if (fitting != NULL && ferror(file) == 0) {
            data = fitting;
            LLVMFuzzerTestOneInput(data, size);
            done = true;
        }
    }
    if (!done)
        perror(path);
    if (file != NULL)
        fclose(file);
    free(data);
    return done;
}

/* Returns how many files there were, or -1. */
static int replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    if (folder == NULL) {
        perror(path);
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        if (!replay_file(path, entry->d_name)) {
            count = -1;
            break;
        }
        count++;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);
        if (count < 0)
            return EXIT_FAILURE;
        total += count;
    }
    printf("%d inputs replayed\n", total);
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
