/* Attention on x86-64: softmax(q k^T / sqrt(d)) v for tensors seen as (batch, head, row, d), with the
   d values of a row side by side in memory.

   Queries lie in the lanes of the vectors, so keys and values are broadcast one word at a time, no
   head size needs padding, and the softmax never works across lanes. A word is 32 bits: one float, or
   two neighbouring bfloat16 (along d for the scores, along the keys for the output) that one
   instruction multiplies and adds in float. Keys and values are packed once per head, in the order
   in which the words are read. The softmax is online: blocks of keys, float sums, the output
   rescaled when a row's maximum grows.

   attention_path.h holds the algorithm. It is included once for each set of instructions. */

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 512 /* d of a head */
#define BLOCK 128   /* keys whose scores are held at a time */

typedef uint32_t word;

struct rows { /* a tensor seen as (batch, head, row, d): strides in bytes, d is contiguous */
    char *data;
    int64_t batch, head, row;
};

struct call {
    int64_t batches, heads, n, m, d;
    int32_t half, path, threads; /* half: bfloat16 in and out, float otherwise */
    struct rows q, k, v, out;
};

struct job {
    const struct call *call;
    const struct path *path;
    int64_t next, keys; /* the next piece of work to take; m rounded up to whole tiles */
    word *k, *v;
    float *bias; /* 0 for a key, minus infinity for padding: it never reaches the maximum */
};

struct path {
    int64_t queries, tile, per_word; /* queries worked on at a time, keys in a tile, values in a word */
    void (*pack)(const struct job *, int64_t head);
    void (*attend)(const struct job *, int64_t head, int64_t first);
};

static char *at(const struct rows *rows, const struct call *call, int64_t head, int64_t row) {
    int64_t batch = head / call->heads;
    return rows->data + batch * rows->batch + head % call->heads * rows->head + row * rows->row;
}

#define PATH avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define TILE 4
#define PER_WORD 1
#include "attention_path.h"

#define PATH avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define WIDTH 16
#define TILE 8
#define PER_WORD 1
#include "attention_path.h"

#define PATH bfloat
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define WIDTH 16
#define TILE 8
#define PER_WORD 2
#include "attention_path.h"

static const struct path *const paths[] = {&path_avx2, &path_avx512, &path_bfloat};

/* The best path of this machine, counted from 1: AVX2, AVX-512, AVX-512 with bfloat16; 0 for none. */
int mdp_lite_attention_path(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) return 1;
    if (!__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) return 1;
    return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
}

static void pack_heads(void *data) {
    struct job *job = data;
    int64_t heads = job->call->batches * job->call->heads, i;
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < heads) job->path->pack(job, i);
}

static void attend_blocks(void *data) {
    struct job *job = data;
    int64_t size = job->path->queries, blocks = (job->call->n + size - 1) / size, i;
    int64_t pieces = job->call->batches * job->call->heads * blocks;
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < pieces)
        job->path->attend(job, i / blocks, i % blocks * size);
}

/* GNU OpenMP's entry point. The library is not linked: the symbol is found in the OpenMP that torch
   has loaded, so that there is one pool of threads. */
void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

static void share(struct job *job, void (*work)(void *)) {
    job->next = 0;
    GOMP_parallel(work, job, job->call->threads, 0);
}

/* Writes call->out; 0 on success, 1 when memory runs out. A row's bits depend on its head alone. */
int mdp_lite_attention(const struct call *call) {
    const struct path *path = paths[call->path - (call->half ? 1 : call->path > 2 ? 2 : 1)];
    struct job job = {.call = call, .path = path};
    job.keys = (call->m + path->tile - 1) / path->tile * path->tile;
    int64_t words = call->batches * call->heads * job.keys * (call->d / path->per_word);
    word *space = aligned_alloc(64, (2 * words + job.keys + 15) / 16 * 16 * sizeof(word));
    if (!space) return 1;
    job.k = space, job.v = space + words, job.bias = (float *)(space + 2 * words);
    for (int64_t i = 0; i < job.keys; i++) job.bias[i] = i < call->m ? 0 : -INFINITY;
    share(&job, pack_heads);
    share(&job, attend_blocks);
    free(space);
    return 0;
}
