/* What attention_path.h needs of the vectors of PATH, WIDTH floats wide. */

#undef INLINE
#define JOIN_(name, path) name##_##path
#define JOIN(name, path) JOIN_(name, path)
#define NAME(name) JOIN(name, PATH)
#undef floats
#undef ints
#define floats NAME(floats)
#define ints NAME(ints)
#define INLINE static inline __attribute__((always_inline)) TARGET

typedef float floats __attribute__((vector_size(4 * WIDTH), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH), may_alias));

#if WIDTH == 16

INLINE floats NAME(all)(float x) { return _mm512_set1_ps(x); }
/* Of a number and one that is not, the second: a maximum stays a number. */
INLINE floats NAME(larger)(floats x, floats limit) { return _mm512_max_ps(x, limit); }
INLINE int NAME(any_above)(floats x, floats y) { return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ) != 0; }
INLINE floats NAME(fused)(floats x, floats y, floats z) { return _mm512_fmadd_ps(x, y, z); }
INLINE ints NAME(load_row)(const void *row, int64_t count) {
    return (ints)_mm512_maskz_loadu_epi32(count < 16 ? (1u << count) - 1 : 0xffff, row);
}
INLINE void NAME(store_row)(void *row, int64_t count, ints x) {
    _mm512_mask_storeu_epi32(row, count < 16 ? (1u << count) - 1 : 0xffff, (__m512i)x);
}

INLINE void NAME(transpose)(ints rows[16]) {
    __m512i a[16], *r = (__m512i *)rows;
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        a[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd);
        r[i + 12] = _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0xdd);
    }
}

#else

INLINE floats NAME(all)(float x) { return _mm256_set1_ps(x); }
INLINE floats NAME(larger)(floats x, floats limit) { return _mm256_max_ps(x, limit); }
INLINE int NAME(any_above)(floats x, floats y) {
    return _mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_GT_OQ)) != 0;
}
INLINE floats NAME(fused)(floats x, floats y, floats z) { return _mm256_fmadd_ps(x, y, z); }
INLINE ints NAME(load_row)(const void *row, int64_t count) {
    ints x = {0};
    memcpy(&x, row, count * 4);
    return x;
}
INLINE void NAME(store_row)(void *row, int64_t count, ints x) { memcpy(row, &x, count * 4); }

INLINE void NAME(transpose)(ints rows[8]) {
    __m256 a[8], *r = (__m256 *)rows;
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        a[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) r[i] = a[i];
}

#endif

#if PER_WORD == 2

/* acc + x y for both values of each word, in float. */
INLINE floats NAME(product)(floats acc, floats x, floats y) {
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)y);
}

/* Two vectors as one of bfloat16 words. */
INLINE ints NAME(pair)(floats low, floats high) {
    static const uint16_t order[32] __attribute__((aligned(64))) = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    return (ints)_mm512_permutexvar_epi16(_mm512_load_si512(order), both);
}

/* 2^x for x <= 0 to 8e-5 of its value, far below the rounding to bfloat16. */
INLINE floats NAME(power)(floats x) {
    floats part = _mm512_reduce_ps(x, 0x09); /* x - floor(x) */
    floats y = NAME(fused)(part, NAME(all)(0.0780245226f), NAME(all)(0.226067155f));
    y = NAME(fused)(y, part, NAME(all)(0.69583354f));
    return _mm512_scalef_ps(NAME(fused)(y, part, NAME(all)(0.999925219f)), x);
}

#else

INLINE floats NAME(product)(floats acc, floats x, floats y) { return NAME(fused)(x, y, acc); }

/* The upper halves of floats, rounded to nearest even; what is no number stays so. */
INLINE ints NAME(round_half)(floats x) {
    ints bits = (ints)x, number = (ints)(x == x);
    ints rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return (rounded & number) | (0x7fc00000 & ~number);
}

INLINE ints NAME(pair)(floats low, floats high) {
    return ((NAME(round_half)(low) >> 16) & 0xffff) | (NAME(round_half)(high) & ~0xffff);
}

/* 2^x for x <= 0 to 1e-7 of its value. */
INLINE floats NAME(power)(floats x) {
    x = NAME(larger)(NAME(all)(-127), x);
#if WIDTH == 16
    floats whole = _mm512_roundscale_ps(x, 0x08);
    ints exponent = (ints)_mm512_cvtps_epi32(whole);
#else
    floats whole = _mm256_round_ps(x, 0x08);
    ints exponent = (ints)_mm256_cvtps_epi32(whole);
#endif
    floats part = x - whole;
    floats y = NAME(fused)(part, NAME(all)(0.0013276472f), NAME(all)(0.00967554133f));
    y = NAME(fused)(y, part, NAME(all)(0.0555071327f));
    y = NAME(fused)(y, part, NAME(all)(0.240221197f));
    y = NAME(fused)(y, part, NAME(all)(0.693146967f));
    y = NAME(fused)(y, part, NAME(all)(1.00000007f));
    return y * (floats)((exponent + 127) << 23);
}

#endif
