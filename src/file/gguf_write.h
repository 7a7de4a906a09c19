/* SPDX-License-Identifier: MIT */
/*
 * Writes a GGUF v3 file from front to back over the atomic writer: header, keys, tensor table, data. Calls
 * come in that order, as often as the header promised. The file appears under its name with
 * moe__gguf_write_commit and not before.
 */
#ifndef MOE_FILE_GGUF_WRITE_H
#define MOE_FILE_GGUF_WRITE_H

#include "base/os.h"
#include "file/file.h"

typedef struct moe__gguf_writer {
    moe__os_writer os;
    const moe__allocator *a;
    unsigned char *buf; /* owned: small writes gather here */
    size_t used;
    uint64_t pos; /* bytes written, those in buf included */
    uint64_t alignment;
    uint64_t next_offset; /* of the next tensor, from the start of the data section */
} moe__gguf_writer;

/* path must outlive the writer. */
int moe__gguf_write_open(moe__gguf_writer *w, const char *path, const moe__allocator *a);
int moe__gguf_write_header(moe__gguf_writer *w, uint64_t n_tensors, uint64_t n_kv, uint64_t alignment);
/* Key i of f as it stands there, byte for byte. */
int moe__gguf_write_kv_copy(moe__gguf_writer *w, const moe__file *f, size_t i);
int moe__gguf_write_kv_u32(moe__gguf_writer *w, const char *key, uint32_t value);
/* One row of the tensor table; offsets follow from the order. */
int moe__gguf_write_tensor(moe__gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *dim,
                           const moe__type *type);
/* Any number of pieces of one tensor's data, then moe__gguf_write_align; one call of that before the first
 * tensor, too. */
int moe__gguf_write_data(moe__gguf_writer *w, const void *data, size_t n);
int moe__gguf_write_align(moe__gguf_writer *w);
int moe__gguf_write_commit(moe__gguf_writer *w);
/* Leaves nothing behind; harmless after commit. */
void moe__gguf_write_cancel(moe__gguf_writer *w);

#endif
