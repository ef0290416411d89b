/* Both passes over a chunk of rows for one set of instructions: PATH (its name), TARGET (the
   compiler's attribute), WIDTH (lanes). */

#include "attention_vector.h"

#define TOGETHER 4 /* vectors of neighbouring channels that are summed at a time */

/* WIDTH numbers as floats; if there are fewer, zeros in the other lanes. */
INLINE floats NAME(load)(const char *from, int64_t count, int half) {
    char some[4 * WIDTH] = {0};
    if (count < WIDTH) from = memcpy(some, from, count * (half ? 2 : 4));
    if (!half) {
        floats x;
        memcpy(&x, from, sizeof x);
        return x;
    }
#if WIDTH == 16
    return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from)), 16);
#else
    return (floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)from)), 16);
#endif
}

INLINE void NAME(store)(char *to, int64_t count, int half, floats x) {
    char some[4 * WIDTH];
    char *there = count < WIDTH ? some : to;
    if (!half)
        memcpy(there, &x, sizeof x);
    else {
        ints bits = NAME(round_half)(x);
#if WIDTH == 16
        _mm256_storeu_si256((void *)there, _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)bits, 16)));
#else
        __m256i upper = _mm256_srli_epi32((__m256i)bits, 16);
        __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 0x08);
        _mm_storeu_si128((void *)there, _mm256_castsi256_si128(pairs));
#endif
    }
    if (count < WIDTH) memcpy(to, some, count * (half ? 2 : 4));
}

/* e^x to 2 units in the last place; infinity above 88.3. */
INLINE floats NAME(exponential)(floats x) {
#if WIDTH == 16
    x = _mm512_min_ps(NAME(all)(89), _mm512_max_ps(NAME(all)(-87), x));
    floats whole = _mm512_roundscale_ps(x * 1.44269504f, 0x08);
    ints exponent = (ints)_mm512_cvtps_epi32(whole);
#else
    x = _mm256_min_ps(NAME(all)(89), _mm256_max_ps(NAME(all)(-87), x));
    floats whole = _mm256_round_ps(x * 1.44269504f, 0x08);
    ints exponent = (ints)_mm256_cvtps_epi32(whole);
#endif
    floats part = NAME(fused)(whole, NAME(all)(-0.693359375f), x); /* ln 2 in two parts */
    part = NAME(fused)(whole, NAME(all)(2.12194440e-4f), part);
    floats y = NAME(fused)(part, NAME(all)(1.9875691500e-4f), NAME(all)(1.3981999507e-3f));
    y = NAME(fused)(y, part, NAME(all)(8.3334519073e-3f));
    y = NAME(fused)(y, part, NAME(all)(4.1665795894e-2f));
    y = NAME(fused)(y, part, NAME(all)(1.6666665459e-1f));
    y = NAME(fused)(y, part, NAME(all)(5.0000001201e-1f));
    y = NAME(fused)(y, part * part, part + 1);
    return y * (floats)((exponent + 127) << 23);
}

/* Means and squared deviations of some channels over the rows of a chunk. */
INLINE void NAME(measure_some)(const char *x, int64_t rows, int64_t row, int64_t count, int vectors,
                               int half, double *mean, double *spread) {
    floats sum[TOGETHER], middle[TOGETHER], off[TOGETHER], squares[TOGETHER];
    int64_t size = half ? 2 : 4;
    for (int v = 0; v < vectors; v++) sum[v] = off[v] = squares[v] = NAME(all)(0);
    for (int64_t i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            sum[v] += NAME(load)(x + i * row + v * WIDTH * size, count - v * WIDTH, half);
    for (int v = 0; v < vectors; v++) middle[v] = sum[v] / (float)rows;
    for (int64_t i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            floats d = NAME(load)(x + i * row + v * WIDTH * size, count - v * WIDTH, half) - middle[v];
            off[v] += d;
            squares[v] = NAME(fused)(d, d, squares[v]);
        }
    for (int v = 0; v < vectors; v++)
        for (int64_t i = 0; i < WIDTH && v * WIDTH + i < count; i++) {
            double rest = off[v][i]; /* what rounding left of the mean */
            mean[v * WIDTH + i] = middle[v][i] + rest / rows;
            spread[v * WIDTH + i] = squares[v][i] - rest * rest / rows;
        }
}

INLINE void NAME(measure_rows)(const struct job *job, int64_t piece, int half) {
    const struct call *call = job->call;
    int64_t size = half ? 2 : 4, row = call->channels * size, chunk = piece % job->chunks;
    const char *x = call->x + (piece / job->chunks * call->rows + chunk * CHUNK) * row;
    double *mean = job->mean + piece * call->channels, *spread = job->spread + piece * call->channels;
    int64_t rows = count_rows(job, chunk), c = 0, together = TOGETHER * WIDTH;
    for (; c + together <= call->channels; c += together)
        NAME(measure_some)(x + c * size, rows, row, together, TOGETHER, half, mean + c, spread + c);
    for (; c < call->channels; c += WIDTH)
        NAME(measure_some)(x + c * size, rows, row, call->channels - c, 1, half, mean + c, spread + c);
}

INLINE void NAME(normalise_rows)(const struct job *job, int64_t piece, int half, int silu) {
    const struct call *call = job->call;
    int64_t size = half ? 2 : 4, row = call->channels * size, chunk = piece % job->chunks;
    int64_t batch = piece / job->chunks, first = (batch * call->rows + chunk * CHUNK) * row;
    const char *slope = (const char *)(job->slope + batch * call->channels);
    const char *middle = (const char *)(job->middle + batch * call->channels);
    const char *bias = (const char *)call->bias;
    for (int64_t i = 0; i < count_rows(job, chunk); i++)
        for (int64_t c = 0; c < call->channels; c += WIDTH) {
            int64_t count = call->channels - c, at = first + i * row + c * size;
            floats x = NAME(load)(call->x + at, count, half) - NAME(load)(middle + 4 * c, count, 0);
            floats y = NAME(fused)(x, NAME(load)(slope + 4 * c, count, 0), NAME(load)(bias + 4 * c, count, 0));
            if (silu) y = y / (NAME(exponential)(-y) + 1);
            NAME(store)(call->out + at, count, half, y);
        }
}

static TARGET void NAME(measure)(const struct job *job, int64_t piece) {
    if (job->call->half)
        NAME(measure_rows)(job, piece, 1);
    else
        NAME(measure_rows)(job, piece, 0);
}

static TARGET void NAME(normalise)(const struct job *job, int64_t piece) {
    int half = job->call->half, silu = job->call->silu;
    if (half && silu)
        NAME(normalise_rows)(job, piece, 1, 1);
    else if (half)
        NAME(normalise_rows)(job, piece, 1, 0);
    else if (silu)
        NAME(normalise_rows)(job, piece, 0, 1);
    else
        NAME(normalise_rows)(job, piece, 0, 0);
}

static const struct path NAME(path) = {NAME(measure), NAME(normalise)};

#undef PATH
#undef TARGET
#undef WIDTH
#undef PER_WORD
#undef TOGETHER
