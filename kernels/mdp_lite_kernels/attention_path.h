/* The algorithm for one set of instructions: PATH (its name), TARGET (the compiler's attribute),
   WIDTH (lanes), TILE (rows of keys or of d worked on in registers), PER_WORD (values in a word). */

#include "attention_vector.h"

/* Rows, WIDTH at most, into the lanes of q[word of d][side]; zeros in the other lanes. */
INLINE void NAME(load)(floats (*q)[2], int side, const char *rows, int64_t stride, int64_t count,
                       int64_t d, int half) {
    int64_t words = half ? d / 2 : d;
    for (int64_t first = 0; first < words; first += WIDTH) {
        int64_t width = words - first < WIDTH ? words - first : WIDTH;
        ints x[WIDTH];
        for (int i = 0; i < WIDTH; i++)
            x[i] = i < count ? NAME(load_row)(rows + i * stride + first * 4, width) : (ints){0};
        NAME(transpose)(x);
        for (int64_t i = 0; i < width; i++) {
            if (half && PER_WORD == 1) {
                q[2 * (first + i)][side] = (floats)(x[i] << 16);
                q[2 * (first + i) + 1][side] = (floats)(x[i] & ~0xffff);
            } else
                q[first + i][side] = (floats)x[i];
        }
    }
}

/* Keys as [tile of keys][word of d][key]. */
INLINE void NAME(pack_keys)(const struct job *job, word *k, int64_t head, int half) {
    const struct rows *from = &job->call->k;
    int64_t words = job->call->d / PER_WORD;
    for (int64_t key = 0; key < job->keys; key += WIDTH) {
        floats x[LARGEST / PER_WORD][2];
        NAME(load)(x, 0, at(from, job->call, head, key), from->row, job->call->m - key, words * PER_WORD, half);
        for (int64_t t = key; t < key + WIDTH && t < job->keys; t += TILE)
            for (int64_t i = 0; i < words; i++)
                memcpy(k + (t * words + i * TILE), (word *)&x[i][0] + (t - key), TILE * 4);
    }
}

/* Values as [tile of d][word of keys][d]. */
INLINE void NAME(pack_values)(const struct job *job, word *v, int64_t head, int half) {
    static const char nothing[LARGEST * 4];
    const struct call *call = job->call;
    for (int64_t key = 0; key < job->keys; key += PER_WORD) {
        const char *one = key < call->m ? at(&call->v, call, head, key) : nothing;
        const char *two = key + 1 < call->m ? at(&call->v, call, head, key + 1) : nothing;
        for (int64_t d = 0; d < call->d; d += TILE) {
            word *to = v + (d * job->keys + key * TILE) / PER_WORD;
            const uint16_t *low = (const uint16_t *)one + d, *high = (const uint16_t *)two + d;
            if (!half)
                memcpy(to, one + d * 4, TILE * 4);
            else if (PER_WORD == 1)
                for (int i = 0; i < TILE; i++) to[i] = (word)low[i] << 16;
            else
                for (int i = 0; i < TILE; i++) to[i] = low[i] | (word)high[i] << 16;
        }
    }
}

static TARGET void NAME(pack)(const struct job *job, int64_t head) {
    int64_t size = job->keys * (job->call->d / PER_WORD) * head;
    if (job->call->half) {
        NAME(pack_keys)(job, job->k + size, head, 1);
        NAME(pack_values)(job, job->v + size, head, 1);
    } else {
        NAME(pack_keys)(job, job->k + size, head, 0);
        NAME(pack_values)(job, job->v + size, head, 0);
    }
}

/* The reverse for the output, each value times the row's factor. */
INLINE void NAME(store)(char *rows, int64_t stride, int64_t count, floats (*o)[2], int side,
                        floats factor, int64_t d, int half) {
    int64_t words = half ? d / 2 : d;
    for (int64_t first = 0; first < words; first += WIDTH) {
        int64_t width = words - first < WIDTH ? words - first : WIDTH;
        ints x[WIDTH];
        for (int64_t i = 0; i < WIDTH; i++) {
            int64_t at = first + i;
            if (i >= width)
                x[i] = (ints){0};
            else if (half)
                x[i] = NAME(pair)(o[2 * at][side] * factor, o[2 * at + 1][side] * factor);
            else
                x[i] = (ints)(o[at][side] * factor);
        }
        NAME(transpose)(x);
        for (int64_t i = 0; i < count; i++) NAME(store_row)(rows + i * stride + first * 4, width, x[i]);
    }
}

/* acc[i] += sum over words of left[word][i] * right[word], i in the rows of a tile. */
INLINE void NAME(multiply)(floats acc[TILE][2], const word *left, floats (*right)[2], int64_t words) {
    for (int64_t w = 0; w < words; w++, left += TILE) {
        floats a = right[w][0], b = right[w][1];
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++) {
            floats x = NAME(all)(((const float *)left)[i]);
            acc[i][0] = NAME(product)(acc[i][0], a, x);
            acc[i][1] = NAME(product)(acc[i][1], b, x);
        }
    }
}

struct NAME(state) { /* of two vectors of queries, over the keys so far */
    floats q[LARGEST / PER_WORD][2], o[LARGEST][2], m[2], sum[2], scale;
    floats s[BLOCK][2]; /* a block's scores, then its weights */
};

/* Scores of a block of keys, and the largest so far. */
INLINE void NAME(score)(struct NAME(state) *x, const word *k, const float *bias, int64_t keys,
                        int64_t words, floats top[2]) {
    for (int64_t t = 0; t < keys; t += TILE) {
        floats acc[TILE][2];
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++) acc[i][0] = acc[i][1] = NAME(all)(bias[t + i]);
        NAME(multiply)(acc, k + t * words, x->q, words);
#pragma GCC unroll 8
        for (int i = 0; i < TILE; i++)
            for (int side = 0; side < 2; side++) {
                x->s[t + i][side] = acc[i][side];
                top[side] = NAME(larger)(acc[i][side], top[side]);
            }
    }
}

/* Where a maximum has grown, what was summed so far is made relative to the new one. */
INLINE void NAME(grow)(struct NAME(state) *x, const floats top[2], int64_t d) {
    for (int side = 0; side < 2; side++) {
        if (!NAME(any_above)(top[side], x->m[side])) continue;
        floats factor = NAME(power)((x->m[side] - top[side]) * x->scale);
        for (int64_t i = 0; i < d; i++) x->o[i][side] *= factor;
        x->sum[side] *= factor;
        x->m[side] = top[side];
    }
}

/* Scores to weights, in words; the difference comes first, so that the largest weighs exactly 1. */
INLINE void NAME(soften)(struct NAME(state) *x, int64_t keys) {
    for (int64_t i = 0; i < keys; i += PER_WORD)
        for (int side = 0; side < 2; side++) {
            floats p = NAME(power)((x->s[i][side] - x->m[side]) * x->scale);
            x->sum[side] += p;
            if (PER_WORD == 2) {
                floats next = NAME(power)((x->s[i + 1][side] - x->m[side]) * x->scale);
                x->sum[side] += next;
                p = (floats)NAME(pair)(p, next);
            }
            x->s[i / PER_WORD][side] = p;
        }
}

/* The weighted values of a block, added to the output; v holds `all` keys for each tile of d. */
INLINE void NAME(weigh)(struct NAME(state) *x, const word *v, int64_t keys, int64_t all, int64_t d) {
    for (int64_t i = 0; i < d; i += TILE, v += all / PER_WORD * TILE) {
        floats acc[TILE][2];
#pragma GCC unroll 8
        for (int j = 0; j < TILE; j++) acc[j][0] = x->o[i + j][0], acc[j][1] = x->o[i + j][1];
        NAME(multiply)(acc, v, x->s, keys / PER_WORD);
#pragma GCC unroll 8
        for (int j = 0; j < TILE; j++) x->o[i + j][0] = acc[j][0], x->o[i + j][1] = acc[j][1];
    }
}

static TARGET void NAME(attend)(const struct job *job, int64_t head, int64_t first) {
    const struct call *call = job->call;
    int64_t d = call->d, words = d / PER_WORD, size = job->keys * words, rows = call->n - first;
    const word *k = job->k + head * size, *v = job->v + head * size;
    struct NAME(state) x;
    x.scale = NAME(all)((float)(M_LOG2E / sqrt((double)d)));
    for (int64_t i = 0; i < d; i++) x.o[i][0] = x.o[i][1] = NAME(all)(0);
    for (int side = 0; side < 2; side++) {
        const char *row = at(&call->q, call, head, first + side * WIDTH);
        if (call->half)
            NAME(load)(x.q, side, row, call->q.row, rows - side * WIDTH, d, 1);
        else
            NAME(load)(x.q, side, row, call->q.row, rows - side * WIDTH, d, 0);
        x.m[side] = NAME(all)(-FLT_MAX), x.sum[side] = NAME(all)(0);
    }
    for (int64_t key = 0; key < job->keys; key += BLOCK) {
        int64_t keys = job->keys - key < BLOCK ? job->keys - key : BLOCK;
        floats top[2] = {x.m[0], x.m[1]};
        NAME(score)(&x, k + key * words, job->bias + key, keys, words, top);
        NAME(grow)(&x, top, d);
        NAME(soften)(&x, keys);
        NAME(weigh)(&x, v + key / PER_WORD * TILE, keys, job->keys, d);
    }
    for (int side = 0; side < 2; side++) {
        char *row = at(&call->out, call, head, first + side * WIDTH);
        int64_t left = rows - side * WIDTH, count = left < WIDTH ? left : WIDTH;
        if (call->half)
            NAME(store)(row, call->out.row, count, x.o, side, 1 / x.sum[side], d, 1);
        else
            NAME(store)(row, call->out.row, count, x.o, side, 1 / x.sum[side], d, 0);
    }
}

static const struct path NAME(path) = {2 * WIDTH, TILE, PER_WORD, NAME(pack), NAME(attend)};

#undef PATH
#undef TARGET
#undef WIDTH
#undef TILE
#undef PER_WORD
