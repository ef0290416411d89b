/* GroupNorm, then SiLU or not, on x86-64: y = silu((x - mean) / sqrt(var + eps) * weight + bias) for
   pictures in channels-last memory, seen as (batch, row, channel); a row is the channels of a pixel.

   Rows are cut into chunks of a fixed size. The first pass leaves mean and squared deviation of each
   chunk and channel, in float about a mean of the chunk that is corrected afterwards. They are put
   together in double for each group: so large means cost no digits, and bits do not depend on the
   number of threads. The second pass takes the mean from each number before it scales it, so
   that a picture of one large value is still the bias; it may write where it reads.

   group_norm_path.h holds both passes. It is included once for each set of instructions. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256 /* rows */

struct call {
    int64_t batches, rows, channels, groups;
    double eps;
    int32_t half, silu, path, threads; /* half: bfloat16 in and out, float otherwise */
    const char *x;
    char *out;
    const float *weight, *bias; /* of each channel */
};

struct job {
    const struct call *call;
    const struct path *path;
    int64_t next, chunks; /* the next piece of work to take; chunks of one picture */
    double *mean, *spread; /* (batch, chunk, channel): means, sums of squared deviations from them */
    float *middle, *slope; /* (batch, channel): y = (x - middle) * slope + bias */
};

struct path {
    void (*measure)(const struct job *, int64_t chunk);
    void (*normalise)(const struct job *, int64_t chunk);
};

static int64_t count_rows(const struct job *job, int64_t chunk) {
    int64_t left = job->call->rows - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

#define PATH avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define PER_WORD 1
#include "group_norm_path.h"

#define PATH avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define WIDTH 16
#define PER_WORD 1
#include "group_norm_path.h"

static const struct path *const paths[] = {&path_avx2, &path_avx512};

/* The best path of this machine, counted from 1: AVX2, AVX-512; 0 for none. */
int mdp_lite_group_norm_path(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) return 1;
    return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
}

/* Middle and slope of one group of one picture, from all its chunks. */
static void combine(const struct job *job, int64_t batch, int64_t group) {
    const struct call *call = job->call;
    int64_t size = call->channels / call->groups, first = group * size;
    const double *mean = job->mean + batch * job->chunks * call->channels + first;
    const double *spread = job->spread + batch * job->chunks * call->channels + first;
    double sum = 0, squares = 0, count = (double)call->rows * size;
    for (int64_t i = 0; i < job->chunks; i++)
        for (int64_t c = 0; c < size; c++) sum += count_rows(job, i) * mean[i * call->channels + c];
    double middle = sum / count;
    for (int64_t i = 0; i < job->chunks; i++)
        for (int64_t c = 0; c < size; c++) {
            double off = mean[i * call->channels + c] - middle;
            squares += spread[i * call->channels + c] + count_rows(job, i) * off * off;
        }
    double variance = squares < 0 ? 0 : squares / count; /* NaN stays so */
    double scale = 1 / sqrt(variance + call->eps);
    for (int64_t c = first; c < first + size; c++) {
        int64_t at = batch * call->channels + c;
        job->middle[at] = (float)middle;
        job->slope[at] = (float)(scale * call->weight[c]);
    }
}

static void measure_chunks(void *data) {
    struct job *job = data;
    int64_t pieces = job->call->batches * job->chunks, i;
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < pieces) job->path->measure(job, i);
}

static void combine_groups(void *data) {
    struct job *job = data;
    int64_t groups = job->call->groups, pieces = job->call->batches * groups, i;
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < pieces)
        combine(job, i / groups, i % groups);
}

static void normalise_chunks(void *data) {
    struct job *job = data;
    int64_t pieces = job->call->batches * job->chunks, i;
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < pieces) job->path->normalise(job, i);
}

/* GNU OpenMP's entry point, found in the OpenMP that torch has loaded: see attention.c. */
void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

static void share(struct job *job, void (*work)(void *)) {
    job->next = 0;
    GOMP_parallel(work, job, job->call->threads, 0);
}

/* Writes call->out, which may be call->x; 0 on success, 1 when memory runs out. */
int mdp_lite_group_norm(const struct call *call) {
    struct job job = {.call = call, .path = paths[call->path - 1]};
    job.chunks = (call->rows + CHUNK - 1) / CHUNK;
    int64_t each = call->batches * call->channels, all = each * job.chunks;
    double *space = malloc((2 * all + each) * sizeof(double));
    if (!space) return 1;
    job.mean = space, job.spread = space + all;
    job.middle = (float *)(space + 2 * all), job.slope = job.middle + each;
    share(&job, measure_chunks);
    share(&job, combine_groups);
    share(&job, normalise_chunks);
    free(space);
    return 0;
}
