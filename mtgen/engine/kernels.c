/* The trunk's forward pass on a CPU with AVX2 or AVX-512, for `mtgen.engine.native`.

Weights are blocks of 32 columns, of 4 bits or 8, and up to MOST_SPAN blocks of 8 bits share a
scale. Activations are rounded to int8 before each product, 32 columns a scale (as ggml does, docs
of ggml-org/ggml); everything else is float32. Where blocks of weights share a scale, those of
activations differ by powers of two: sums of products stay whole numbers until all are added, and
half of the work beside the products is saved. What a row gives depends on its own stream alone:
whatever else is computed in the same call, and however a prompt is cut into calls, its sums are
made of the same terms in the same order. `docs/decisions/0011-own-kernels.md` has the measurements.

A tile is 16 outputs by 32 columns. Four bits: byte `4 n + i` of the 64-byte word j holds column
4 j + i of output n in its low half and column 16 + 4 j + i in its high half; then 16 float16
scales and 16 minima. Eight bits: byte `4 n + i` of word j is column 4 j + i of output n, plus 128;
then, behind the last block that shares them, 16 scales. Tiles of the same outputs lie one after the
other. */

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this CPU lacks AVX2, FMA or F16C"
#endif

#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define BLOCK 32
#define TILE4 320
#define WORDS8 512 /* a tile of 8 bits, without scales */
#define SCALES 32
#define MOST_SPAN 8
#define MAX_THREADS 64
#define MAX_GROUP 16 /* query heads that share a key head */
#define MAX_HEAD 16  /* vectors of a head */
#define INLINE static inline __attribute__((always_inline))

/* ---- Sixteen numbers ---- */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VNNI__)

#define ROWS 6 /* that are multiplied with a tile at once: what fits into registers */
typedef __m512 vec;
typedef __m512i ivec;

INLINE vec v_set(float x) { return _mm512_set1_ps(x); }
INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(float *p, vec x) { _mm512_storeu_ps(p, x); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec v_round(vec a) { return _mm512_roundscale_ps(a, 8); }
INLINE vec v_abs(vec a) { return _mm512_abs_ps(a); }
INLINE float v_sum(vec a) { return _mm512_reduce_add_ps(a); }
INLINE float v_most(vec a) { return _mm512_reduce_max_ps(a); }
INLINE vec v_power(vec n) { /* 2 to whole numbers, -127 gives 0 */
  __m512i bits = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}
INLINE vec v_halves(const uint8_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vec v_bf16(const uint16_t *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
INLINE void v_bytes(int8_t *p, vec x) { /* of whole numbers from -127 to 127 */
  _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
INLINE unsigned v_reaches(vec a, vec b) { /* a bit for each lane where a >= b */
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
INLINE vec v_float(ivec x) { return _mm512_cvtepi32_ps(x); }
INLINE ivec i_set(int32_t x) { return _mm512_set1_epi32(x); }
INLINE ivec i_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE ivec i_low(ivec x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE ivec i_high(ivec x) { return i_low(_mm512_srli_epi16(x, 4)); }
/* Adds to each lane the products of its four bytes, 0..255, with four of x, -127..127. */
INLINE ivec i_dot4(ivec sum, ivec w, int32_t x) { return _mm512_dpbusd_epi32(sum, w, i_set(x)); }
INLINE ivec i_dot8(ivec sum, ivec w, int32_t x) { return i_dot4(sum, w, x); }
INLINE ivec i_add(ivec a, ivec b) { return _mm512_add_epi32(a, b); }
INLINE ivec i_shift(ivec x, int32_t bits) { return _mm512_sllv_epi32(x, i_set(bits)); }
#define OFFSET8 128 /* of the bytes that i_dot8 multiplies */

#else

#define ROWS 2
typedef struct { __m256 a, b; } vec;
typedef struct { __m256i a, b; } ivec;

INLINE vec v_set(float x) { return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vec v_load(const float *p) { return (vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void v_store(float *p, vec x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
INLINE vec v_add(vec x, vec y) { return (vec){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE vec v_sub(vec x, vec y) { return (vec){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE vec v_mul(vec x, vec y) { return (vec){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE vec v_div(vec x, vec y) { return (vec){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE vec v_max(vec x, vec y) { return (vec){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE vec v_fma(vec x, vec y, vec z) {
  return (vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE vec v_round(vec x) { return (vec){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
INLINE vec v_abs(vec x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return (vec){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE float v_sum(vec x) {
  float parts[8], sum = 0;
  _mm256_storeu_ps(parts, _mm256_add_ps(x.a, x.b));
  for (int i = 0; i < 8; i++) sum += parts[i];
  return sum;
}
INLINE float v_most(vec x) {
  float parts[8];
  _mm256_storeu_ps(parts, _mm256_max_ps(x.a, x.b));
  float most = parts[0];
  for (int i = 1; i < 8; i++) most = parts[i] > most ? parts[i] : most;
  return most;
}
INLINE __m256 power_half(__m256 n) {
  __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
INLINE vec v_power(vec n) { return (vec){power_half(n.a), power_half(n.b)}; }
INLINE vec v_halves(const uint8_t *p) {
  const __m128i *q = (const __m128i *)p;
  return (vec){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
INLINE __m256 bf16_half(const uint16_t *p) {
  __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE vec v_bf16(const uint16_t *p) { return (vec){bf16_half(p), bf16_half(p + 8)}; }
INLINE void v_bytes(int8_t *p, vec x) {
  __m256i pairs = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  pairs = _mm256_permute4x64_epi64(pairs, 0xD8);
  __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  _mm_storeu_si128((__m128i *)p, bytes);
}
INLINE unsigned v_reaches(vec x, vec y) {
  unsigned low = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ));
  return low | (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)) << 8;
}
INLINE vec v_float(ivec x) { return (vec){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE ivec i_set(int32_t x) { return (ivec){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE ivec i_load(const uint8_t *p) {
  const __m256i *q = (const __m256i *)p;
  return (ivec){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
INLINE ivec i_low(ivec x) {
  __m256i mask = _mm256_set1_epi8(15);
  return (ivec){_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
INLINE ivec i_high(ivec x) {
  return i_low((ivec){_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)});
}
INLINE __m256i dot4_half(__m256i sum, __m256i w, __m256i x) { /* w is 0..127 */
  __m256i pairs = _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE ivec i_dot4(ivec sum, ivec w, int32_t x) {
  __m256i four = _mm256_set1_epi32(x);
  return (ivec){dot4_half(sum.a, w.a, four), dot4_half(sum.b, w.b, four)};
}
INLINE __m256i dot8_half(__m256i sum, __m256i w, __m256i x) {
  w = _mm256_xor_si256(w, _mm256_set1_epi8(-128)); /* the sum of a pair must fit into 16 bits */
  return dot4_half(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
INLINE ivec i_dot8(ivec sum, ivec w, int32_t x) {
  __m256i four = _mm256_set1_epi32(x);
  return (ivec){dot8_half(sum.a, w.a, four), dot8_half(sum.b, w.b, four)};
}
INLINE ivec i_add(ivec x, ivec y) {
  return (ivec){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
INLINE ivec i_shift(ivec x, int32_t bits) {
  __m256i by = _mm256_set1_epi32(bits);
  return (ivec){_mm256_sllv_epi32(x.a, by), _mm256_sllv_epi32(x.b, by)};
}
#define OFFSET8 0

#endif

/* e to the x, with a relative error of 2e-7; 0 below -87 (polynomial of Cephes, expf). */
INLINE vec v_exp(vec x) {
  x = v_max(x, v_set(-88.0f));
  vec n = v_round(v_mul(x, v_set(1.44269504f)));
  x = v_fma(n, v_set(-0.693359375f), x);
  x = v_fma(n, v_set(2.12194440e-4f), x);
  vec y = v_set(1.9875691500e-4f);
  y = v_fma(y, x, v_set(1.3981999507e-3f));
  y = v_fma(y, x, v_set(8.3334519073e-3f));
  y = v_fma(y, x, v_set(4.1665795894e-2f));
  y = v_fma(y, x, v_set(1.6666665459e-1f));
  y = v_fma(y, x, v_set(5.0000001201e-1f));
  y = v_fma(v_mul(x, x), y, v_add(x, v_set(1.0f)));
  return v_mul(y, v_power(n));
}

static uint16_t to_bf16(float x) { /* to the nearest, ties to even */
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

/* ---- Threads ---- */

typedef void (*task)(void *argument, int thread);

static struct {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  int started; /* threads beside the caller's */
  atomic_int generation, working;
  int threads;
  task run;
  void *argument;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER;

#define SPINS 4000

static void *helper(void *first) { /* number of the thread, and the generation that it saw */
  int thread = (int)((intptr_t)first % MAX_THREADS), seen = (int)((intptr_t)first / MAX_THREADS);
  for (;;) {
    for (int i = 0; i < SPINS && atomic_load(&pool.generation) == seen; i++) _mm_pause();
    if (atomic_load(&pool.generation) == seen) {
      pthread_mutex_lock(&pool.lock);
      while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
      pthread_mutex_unlock(&pool.lock);
    }
    seen = atomic_load(&pool.generation);
    if (thread < pool.threads) pool.run(pool.argument, thread);
    atomic_fetch_sub(&pool.working, 1);
  }
  return NULL;
}

static void forget_threads(void) { /* in a child process, where none of them lives */
  pthread_mutex_init(&pool.lock, NULL);
  pthread_cond_init(&pool.wake, NULL);
  pthread_mutex_init(&callers, NULL);
  pool.started = 0;
  atomic_store(&pool.generation, 0);
  atomic_store(&pool.working, 0);
}

/* Runs a task on up to so many threads, the caller's among them. Callers take turns. */
static void parallel(task run, void *argument, int threads) {
  static int once;
  if (!once++) pthread_atfork(NULL, NULL, forget_threads);
  pthread_mutex_lock(&pool.lock);
  intptr_t generation = atomic_load(&pool.generation);
  while (pool.started < threads - 1 && pool.started < MAX_THREADS - 1) {
    pthread_t id;
    intptr_t first = generation * MAX_THREADS + pool.started + 1;
    if (pthread_create(&id, NULL, helper, (void *)first)) break;
    pthread_detach(id);
    pool.started++;
  }
  pool.threads = threads < pool.started + 1 ? threads : pool.started + 1;
  pool.run = run;
  pool.argument = argument;
  atomic_store(&pool.working, pool.started);
  atomic_store(&pool.generation, (int)generation + 1);
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  run(argument, 0);
  for (int i = 0; atomic_load(&pool.working); i++) i < SPINS ? _mm_pause() : (void)sched_yield();
}

/* Waits until all threads of the task are here. */
static void barrier(void) {
  static atomic_int arrived, phase;
  if (pool.threads == 1) return;
  int now = atomic_load(&phase);
  if (atomic_fetch_add(&arrived, 1) == pool.threads - 1) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&phase, 1);
    return;
  }
  for (int i = 0; atomic_load(&phase) == now; i++) i < SPINS ? _mm_pause() : (void)sched_yield();
}

/* First of the items that a thread takes of so many. */
INLINE int share(int items, int thread) { return (int)((int64_t)items * thread / pool.threads); }

/* ---- Products ---- */

typedef struct {
  const uint8_t *tiles;
  const float *bias; /* or NULL */
  int32_t rows, columns, bits;
  int32_t span; /* blocks that share a scale; 1 for 4 bits */
} matrix;

/* Rows in int8, 32 columns after each other, of each the ROWS rows that are multiplied at once. */
typedef struct {
  int8_t *codes;
  float *scales;    /* of every 32 columns; of a span, that of its first */
  float *sums;      /* what a minimum of 1 gives for them */
  int32_t *offsets; /* what OFFSET8 adds to their products, to be taken away */
  int32_t *shifts;  /* their scale is the span's, so many times doubled */
  int blocks;       /* of a row */
} codes;

INLINE int64_t place_of_block(const codes *x, int row, int block) {
  return ((int64_t)(row / ROWS) * x->blocks + block) * ROWS + row % ROWS;
}

/* Rounds 32 columns to whole numbers of `scale`. */
INLINE void encode_block(const float *x, const codes *to, int64_t place, float inverse, float scale) {
  vec low = v_round(v_mul(v_load(x), v_set(inverse)));
  vec high = v_round(v_mul(v_load(x + LANES), v_set(inverse)));
  v_bytes(to->codes + place * BLOCK, low);
  v_bytes(to->codes + place * BLOCK + LANES, high);
  float total = v_sum(v_add(low, high));
  to->offsets[place] = -OFFSET8 * (int32_t)total;
  to->scales[place] = scale;
  to->sums[place] = scale * total;
}

INLINE float largest(const float *x) {
  return v_most(v_max(v_abs(v_load(x)), v_abs(v_load(x + LANES))));
}

#define MOST_SHIFT 7

/* Rounds a row for products with matrices of which `span` blocks share a scale. */
static void encode(const float *x, const codes *to, int row, int span) {
  for (int b = 0; b < to->blocks; b += span, x += span * BLOCK) {
    if (span == 1) {
      float most = largest(x);
      encode_block(
          x, to, place_of_block(to, row, b), most > 0 ? 127.0f / most : 0.0f, most / 127.0f);
      continue;
    }
    float most[MOST_SPAN], top = 0;
    for (int i = 0; i < span; i++) {
      most[i] = largest(x + i * BLOCK);
      top = most[i] > top ? most[i] : top;
    }
    float unit = top / (127.0f * (float)(1 << MOST_SHIFT));
    float inverse = unit > 0 ? 1.0f / unit : 0.0f;
    for (int i = 0; i < span; i++) {
      int64_t place = place_of_block(to, row, b + i);
      int shift = 0;
      while (shift < MOST_SHIFT && most[i] * inverse > (float)(127 << shift)) shift++;
      encode_block(x + i * BLOCK, to, place, inverse / (float)(1 << shift), unit);
      to->shifts[place] = shift;
    }
  }
}

static void normalise_and_encode(
    const float *x, const float *weight, float eps, int width, float *space, const codes *to,
    int row, int span) {
  vec sum = v_set(0);
  for (int i = 0; i < width; i += LANES) sum = v_fma(v_load(x + i), v_load(x + i), sum);
  vec scale = v_set(1.0f / sqrtf(v_sum(sum) / (float)width + eps));
  for (int i = 0; i < width; i += LANES)
    v_store(space + i, v_mul(v_mul(v_load(x + i), scale), v_load(weight + i)));
  encode(space, to, row, span);
}

/* What a block of 32 columns gives of n rows, into `found`. */
INLINE void add_block(
    const uint8_t *tile, const codes *x, int64_t first, const int n, const int bits, ivec *found) {
  const int8_t *q = x->codes + first * BLOCK;
#pragma GCC unroll 8
  for (int r = 0; r < n; r++) found[r] = i_set(bits == 4 ? 0 : x->offsets[first + r]);
  const int words = bits == 4 ? 4 : 8;
#pragma GCC unroll 8
  for (int j = 0; j < words; j++) {
    ivec low = i_load(tile + 64 * j), high = low;
    if (bits == 4) {
      high = i_high(low);
      low = i_low(low);
    }
#pragma GCC unroll 8
    for (int r = 0; r < n; r++) {
      int32_t four;
      memcpy(&four, q + r * BLOCK + 4 * j, 4);
      found[r] = bits == 4 ? i_dot4(found[r], low, four) : i_dot8(found[r], low, four);
      if (bits == 8) continue;
      memcpy(&four, q + r * BLOCK + BLOCK / 2 + 4 * j, 4);
      found[r] = i_dot4(found[r], high, four);
    }
  }
}

/* Adds the products of 16 outputs with n rows to `sum`. */
INLINE void add_products4(const matrix *m, int panel, const codes *x, int row, const int n, vec *sum) {
  const uint8_t *tile = m->tiles + (int64_t)panel * x->blocks * TILE4;
  for (int b = 0; b < x->blocks; b++, tile += TILE4) {
    ivec found[ROWS];
    int64_t first = place_of_block(x, row, b);
    add_block(tile, x, first, n, 4, found);
    vec scale = v_halves(tile + 256), least = v_halves(tile + 288);
#pragma GCC unroll 8
    for (int r = 0; r < n; r++) {
      sum[r] = v_fma(v_float(found[r]), v_mul(scale, v_set(x->scales[first + r])), sum[r]);
      sum[r] = v_fma(least, v_set(x->sums[first + r]), sum[r]);
    }
  }
}

INLINE void add_products8(
    const matrix *m, int panel, const codes *x, int row, const int n, const int shifted, vec *sum) {
  const int span = shifted ? m->span : 1;
  const uint8_t *tile = m->tiles + (int64_t)panel * (x->blocks / span) * (span * WORDS8 + SCALES);
  for (int b = 0; b < x->blocks; b += span, tile += SCALES) {
    ivec total[ROWS];
    for (int r = 0; r < n; r++) total[r] = i_set(0);
    for (int i = 0; i < span; i++, tile += WORDS8) {
      ivec found[ROWS];
      int64_t first = place_of_block(x, row, b + i);
      add_block(tile, x, first, n, 8, found);
#pragma GCC unroll 8
      for (int r = 0; r < n; r++)
        total[r] = shifted ? i_add(total[r], i_shift(found[r], x->shifts[first + r])) : found[r];
    }
    vec scale = v_halves(tile);
    int64_t first = place_of_block(x, row, b);
#pragma GCC unroll 8
    for (int r = 0; r < n; r++)
      sum[r] = v_fma(v_float(total[r]), v_mul(scale, v_set(x->scales[first + r])), sum[r]);
  }
}

typedef void (*outputs)(const matrix *, const codes *, int, int, vec *);
#define OUTPUTS(n) \
  static void outputs_##n(const matrix *m, const codes *x, int panel, int row, vec *out) { \
    vec sum[n]; \
    for (int r = 0; r < n; r++) sum[r] = m->bias ? v_load(m->bias + panel * LANES) : v_set(0); \
    if (m->bits == 4) add_products4(m, panel, x, row, n, sum); \
    else if (m->span == 1) add_products8(m, panel, x, row, n, 0, sum); \
    else add_products8(m, panel, x, row, n, 1, sum); \
    for (int r = 0; r < n; r++) out[r] = sum[r]; \
  }
OUTPUTS(1)
OUTPUTS(2)
#if ROWS == 2
static const outputs outputs_of[] = {NULL, outputs_1, outputs_2};
#else
OUTPUTS(3)
OUTPUTS(4)
OUTPUTS(5)
OUTPUTS(6)
static const outputs outputs_of[] = {NULL,      outputs_1, outputs_2, outputs_3,
                                     outputs_4, outputs_5, outputs_6};
#endif

typedef enum { STORE, ADD, GATE } mode;

/* Rows `first` to `end` of a product; GATE takes pairs of panels, gate and up, and gives
silu(gate) * up. */
INLINE void multiply_panels(
    const matrix *m, const codes *x, int first, int end, const mode how, float *y, int64_t stride,
    int panel, int last) {
  for (; panel < last; panel += how == GATE ? 2 : 1) {
    for (int row = first, n; row < end; row += n) {
      n = ROWS - row % ROWS < end - row ? ROWS - row % ROWS : end - row;
      vec out[ROWS], up[ROWS];
      outputs_of[n](m, x, panel, row, out);
      if (how == GATE) outputs_of[n](m, x, panel + 1, row, up);
      for (int r = 0; r < n; r++) {
        float *to = y + (row + r) * stride + (how == GATE ? panel / 2 : panel) * LANES;
        vec found = out[r];
        if (how == ADD) found = v_add(v_load(to), found);
        if (how == GATE) {
          vec sum = v_add(v_set(1), v_exp(v_sub(v_set(0), found)));
          found = v_mul(v_div(found, sum), up[r]);
        }
        v_store(to, found);
      }
    }
  }
}

/* The same of the panels that a thread takes. */
INLINE void multiply(
    const matrix *m, const codes *x, int first, int end, const mode how, float *y, int64_t stride,
    int thread) {
  int panels = m->rows / LANES, pairs = (panels + 1) / 2, last = 2 * share(pairs, thread + 1);
  multiply_panels(
      m, x, first, end, how, y, stride, 2 * share(pairs, thread), last < panels ? last : panels);
}

/* ---- The model ---- */

typedef struct {
  const float *attn_norm, *ffn_norm;
  matrix qkv, out, gate_up, down;
} layer;

typedef struct {
  int32_t n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff;
  float eps;
  const float *rotations; /* cosine and sine of each position's pairs */
  const float *norm;
  const layer *layers;
  matrix embedding, head;
} model;

typedef struct {
  uint16_t *keys, *values; /* layers, streams, heads, positions, channels */
  int64_t layer_stride, stream_stride, head_stride;
  const int32_t *history; /* of each row, for each position, the stream that it was computed in */
  int64_t history_stride;
} cache;

INLINE int64_t place_of(const cache *c, int layer, int stream, int head) {
  return layer * c->layer_stride + stream * c->stream_stride + head * c->head_stride;
}

typedef struct {
  int32_t id;
  int32_t cache;  /* which */
  int32_t stream; /* of the cache, in which its position is computed */
  int32_t slot;   /* position in the cache */
  int32_t first;  /* the stream's first position */
} row;

typedef struct {
  float logit;
  int32_t id;
} candidate;

/* Tokens of which the likeliest are wanted for some rows. */
typedef struct {
  const matrix *head; /* gives their logits */
  const int32_t *ids; /* of its outputs; NULL where these are their numbers */
  int32_t size;       /* how many they are */
  int32_t n_rows;
} vocabulary;

typedef struct {
  const model *model;
  const layer *expert; /* its matrices take the place of the model's, for the rows that it is for */
  const row *rows;
  const cache *caches;
  const int32_t *wanted; /* rows whose logits are wanted, at the end those of which the likeliest */
  float *logits;
  int n_rows, n_expert_rows, n_wanted; /* rows of the expert come first */
  int n_top, k;                        /* rows of which the k likeliest tokens are wanted */
  const vocabulary *vocabularies; /* of those rows, in their order */
  float *log_probs;
  int64_t *ids;
  int sections; /* room for */
  float *logits_here; /* of each thread: of those rows, for a part of the vocabulary */
  float *maxima, *sums; /* of each section, and of the exponentials of what is below its maximum */
  candidate *top;       /* the likeliest that each thread has found for each of those rows */
  int *n_found;
  float *residual, *heads, *mixed, *hidden, *space, *scores;
  int64_t *offsets;
  codes x, wide;    /* of a row's state, and of its hidden layer */
  int64_t n_scores;   /* room for scores of one thread */
} job;

static int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

static void embed(const matrix *m, int id, float *to) {
  int size = m->bits == 4 ? 256 : m->span * WORDS8, lane = id % LANES, blocks = m->columns / BLOCK;
  int tile_size = size + (m->bits == 4 ? 2 : 1) * SCALES;
  const uint8_t *tile = m->tiles + (int64_t)(id / LANES) * (blocks / m->span) * tile_size;
  for (int g = 0; g < blocks / m->span; g++, tile += tile_size) {
    float scale[LANES], least[LANES];
    v_store(scale, v_halves(tile + size));
    if (m->bits == 4) v_store(least, v_halves(tile + size + SCALES));
    for (int i = 0; i < m->span * BLOCK; i++, to++) {
      if (m->bits == 4) {
        int byte = tile[i % 16 / 4 * 64 + lane * 4 + i % 4];
        *to = scale[lane] * (float)(i < 16 ? byte & 15 : byte >> 4) + least[lane];
      } else {
        *to = scale[lane] * (float)(tile[i / 4 * 64 + lane * 4 + i % 4] - 128);
      }
    }
  }
}

/* Turns pairs of neighbours by their position's angle (RoFormer, equation 34). */
static void rotate(float *x, const float *turns, int head_dim, float scale) {
  for (int i = 0; i < head_dim; i += 2) {
    float re = x[i], im = x[i + 1], c = turns[i], s = turns[i + 1];
    x[i] = (re * c - im * s) * scale;
    x[i + 1] = (re * s + im * c) * scale;
  }
}

static void rotate_and_keep(const job *j, int index, int number) {
  const model *m = j->model;
  const row *r = j->rows + number;
  const cache *to = j->caches + r->cache;
  int d = m->head_dim;
  float *heads = j->heads + (int64_t)number * padded((m->n_head + 2 * m->n_kv_head) * d);
  const float *turns = m->rotations + (int64_t)(r->slot - r->first) * d;
  for (int h = 0; h < m->n_head; h++) rotate(heads + h * d, turns, d, 1.0f / sqrtf((float)d));
  const float *key = heads + m->n_head * d, *value = key + m->n_kv_head * d;
  for (int g = 0; g < m->n_kv_head; g++) {
    rotate(heads + (m->n_head + g) * d, turns, d, 1.0f);
    int64_t place = place_of(to, index, r->stream, g) + (int64_t)r->slot * d;
    for (int i = 0; i < d; i++) {
      to->keys[place + i] = to_bf16(key[g * d + i]);
      to->values[place + i] = to_bf16(value[g * d + i]);
    }
  }
}

/* Attention of one row's queries that share a key head; `group` and `n`, the vectors of a head, are
constants where this is inlined. */
INLINE void attend(
    const float *query, const uint16_t *keys, const uint16_t *values, const int64_t *offsets,
    int length, float *scores, float *to, const int group, const int n) {
  int room = padded(length);
  vec q[MAX_GROUP * MAX_HEAD];
  for (int i = 0; i < group * n; i++) q[i] = v_load(query + i * LANES);
  for (int p = 0; p < length; p++) {
    vec k[MAX_HEAD];
    for (int i = 0; i < n; i++) k[i] = v_bf16(keys + offsets[p] + i * LANES);
    for (int h = 0; h < group; h++) {
      vec sum = v_mul(q[h * n], k[0]);
      for (int i = 1; i < n; i++) sum = v_fma(q[h * n + i], k[i], sum);
      scores[h * room + p] = v_sum(sum);
    }
  }
  float total[MAX_GROUP];
  for (int h = 0; h < group; h++) {
    float *s = scores + h * room;
    for (int p = length; p < room; p++) s[p] = -INFINITY;
    vec most = v_load(s), sum = v_set(0);
    for (int p = LANES; p < room; p += LANES) most = v_max(most, v_load(s + p));
    most = v_set(v_most(most));
    for (int p = 0; p < room; p += LANES) {
      vec e = v_exp(v_sub(v_load(s + p), most));
      sum = v_add(sum, e);
      v_store(s + p, e);
    }
    total[h] = v_sum(sum);
  }
  vec mixed[MAX_GROUP * MAX_HEAD];
  for (int i = 0; i < group * n; i++) mixed[i] = v_set(0);
  for (int p = 0; p < length; p++) {
    vec v[MAX_HEAD];
    for (int i = 0; i < n; i++) v[i] = v_bf16(values + offsets[p] + i * LANES);
    for (int h = 0; h < group; h++) {
      vec weight = v_set(scores[h * room + p]);
      for (int i = 0; i < n; i++) mixed[h * n + i] = v_fma(weight, v[i], mixed[h * n + i]);
    }
  }
  for (int h = 0; h < group; h++)
    for (int i = 0; i < n; i++)
      v_store(to + (h * n + i) * LANES, v_div(mixed[h * n + i], v_set(total[h])));
}

static void attend_row(const job *j, int index, int unit, float *scores, int64_t *offsets) {
  const model *m = j->model;
  int number = unit / m->n_kv_head, g = unit % m->n_kv_head;
  int group = m->n_head / m->n_kv_head, d = m->head_dim, n = d / LANES;
  const row *r = j->rows + number;
  const cache *from = j->caches + r->cache;
  const float *query =
      j->heads + (int64_t)number * padded((m->n_head + 2 * m->n_kv_head) * d) + g * group * d;
  float *to = j->mixed + ((int64_t)number * m->n_head + g * group) * d;
  int length = r->slot - r->first + 1;
  for (int p = 0; p < length; p++) {
    int64_t slot = r->first + p;
    int stream = from->history ? from->history[r->stream * from->history_stride + slot] : r->stream;
    offsets[p] = place_of(from, index, stream, g) + slot * d;
  }
  if (group == 3 && n == 4)
    attend(query, from->keys, from->values, offsets, length, scores, to, 3, 4);
  else
    attend(query, from->keys, from->values, offsets, length, scores, to, group, n);
}

INLINE int span_of(const job *j, int number, const matrix *main, const matrix *expert) {
  return number < j->n_expert_rows ? expert->span : main->span;
}

/* A product of all rows, each with the matrix that is for it. */
static void each_product(
    const job *j, const matrix *main, const matrix *expert, const codes *x, mode how, float *y,
    int64_t stride, int thread) {
  multiply(expert, x, 0, j->n_expert_rows, how, y, stride, thread);
  multiply(main, x, j->n_expert_rows, j->n_rows, how, y, stride, thread);
  barrier();
}

#define SECTION 128       /* tokens that are passed over together where the largest is too small */
#define SECTIONS_AT_ONCE 4 /* whose logits, of all rows, stay in the cache */
#define AT_ONCE (SECTION * SECTIONS_AT_ONCE)
#define MOST_TOP 64

/* Takes a section's logits into the likeliest of a row; ties go to the smaller id. */
static int keep_likeliest(candidate *top, int found, int k, const float *logits, int n, int id) {
  for (int i = 0; i < n; i++) {
    if (found == k && logits[i] <= top[k - 1].logit) continue;
    int at = found < k ? found++ : k - 1;
    for (; at && top[at - 1].logit < logits[i]; at--) top[at] = top[at - 1];
    top[at] = (candidate){logits[i], id + i};
  }
  return found;
}

INLINE int sections_of(int tokens) { return (tokens + SECTION - 1) / SECTION; }

/* The products of a vocabulary with the rows that ask for it, the first of them `row`; a part of
it for each thread, never all logits at once: of 64 rows they would be 12 MB. */
static void rank_tokens(const job *j, const vocabulary *v, int row, int thread) {
  int sections = sections_of(v->size), end = share(sections, thread + 1);
  int panels = v->head->rows / LANES, first = j->n_wanted - j->n_top;
  float *logits = j->logits_here + (int64_t)thread * j->n_top * AT_ONCE;
  candidate *top = j->top + (int64_t)thread * j->n_top * j->k;
  int *found = j->n_found + thread * j->n_top;
  memset(found + row, 0, (size_t)v->n_rows * sizeof *found);
  for (int s = share(sections, thread), next; s < end; s = next) {
    next = s + SECTIONS_AT_ONCE < end ? s + SECTIONS_AT_ONCE : end;
    int last = next * SECTION / LANES < panels ? next * SECTION / LANES : panels;
    multiply_panels(
        v->head, &j->x, first + row, first + row + v->n_rows, STORE,
        logits - ((int64_t)first * AT_ONCE + s * SECTION), AT_ONCE, s * SECTION / LANES, last);
    for (int r = row; r < row + v->n_rows; r++) {
      for (int t = s; t < next; t++) {
        float *some = logits + (int64_t)r * AT_ONCE + (t - s) * SECTION;
        int n = v->size - t * SECTION < SECTION ? v->size - t * SECTION : SECTION;
        for (int i = n; i < SECTION; i++) some[i] = -INFINITY;
        vec most = v_load(some), sum = v_set(0);
        for (int i = LANES; i < SECTION; i += LANES) most = v_max(most, v_load(some + i));
        float maximum = v_most(most);
        for (int i = 0; i < SECTION; i += LANES)
          sum = v_add(sum, v_exp(v_sub(v_load(some + i), v_set(maximum))));
        j->maxima[(int64_t)r * j->sections + t] = maximum;
        j->sums[(int64_t)r * j->sections + t] = v_sum(sum);
        candidate *best = top + (int64_t)r * j->k;
        if (found[r] < j->k || maximum > best[j->k - 1].logit)
          found[r] = keep_likeliest(best, found[r], j->k, some, n, t * SECTION);
      }
    }
  }
}

/* The k likeliest tokens of one row and their log-probabilities, from what the threads found. */
static void merge_likeliest(const job *j, const vocabulary *v, int row) {
  int sections = sections_of(v->size);
  const float *maxima = j->maxima + (int64_t)row * j->sections;
  const float *sums = j->sums + (int64_t)row * j->sections;
  float most = -INFINITY;
  for (int s = 0; s < sections; s++) most = maxima[s] > most ? maxima[s] : most;
  double total = 0;
  for (int s = 0; s < sections; s++) total += sums[s] * expf(maxima[s] - most);
  float log_total = most + (float)log(total);
  int taken[MAX_THREADS] = {0};
  for (int i = 0; i < j->k; i++) {
    const candidate *next = NULL;
    int from = 0;
    for (int t = 0; t < pool.threads; t++) { /* ids of earlier threads are smaller */
      int64_t place = (int64_t)t * j->n_top + row;
      if (taken[t] == j->n_found[place]) continue;
      const candidate *some = j->top + place * j->k + taken[t];
      if (next && next->logit >= some->logit) continue;
      next = some;
      from = t;
    }
    if (!next) break;
    taken[from]++;
    j->log_probs[(int64_t)row * j->k + i] = next->logit - log_total;
    j->ids[(int64_t)row * j->k + i] = v->ids ? v->ids[next->id] : next->id;
  }
}

static void forward(void *argument, int thread) {
  job *j = argument;
  const model *m = j->model;
  int width = m->n_embd, mixed = m->n_head * m->head_dim;
  int64_t heads = padded((m->n_head + 2 * m->n_kv_head) * m->head_dim);
  int first = share(j->n_rows, thread), end = share(j->n_rows, thread + 1);
  float *space = j->space + (int64_t)thread * width;
  float *scores = j->scores + thread * j->n_scores;
  int64_t *offsets = j->offsets + thread * j->n_scores;
  for (int r = first; r < end; r++)
    embed(&m->embedding, j->rows[r].id, j->residual + (int64_t)r * width);
  for (int index = 0; index < m->n_layer; index++) {
    const layer *l = m->layers + index;
    const layer *e = j->n_expert_rows ? j->expert + index : l;
    j->x.blocks = width / BLOCK;
    for (int r = first; r < end; r++)
      normalise_and_encode(
          j->residual + (int64_t)r * width, l->attn_norm, m->eps, width, space, &j->x, r,
          span_of(j, r, &l->qkv, &e->qkv));
    barrier();
    each_product(j, &l->qkv, &e->qkv, &j->x, STORE, j->heads, heads, thread);
    for (int r = first; r < end; r++) rotate_and_keep(j, index, r);
    barrier();
    int units = j->n_rows * m->n_kv_head;
    for (int unit = share(units, thread); unit < share(units, thread + 1); unit++)
      attend_row(j, index, unit, scores, offsets);
    barrier();
    j->wide.blocks = mixed / BLOCK;
    for (int r = first; r < end; r++) 
      encode(j->mixed + (int64_t)r * mixed, &j->wide, r, span_of(j, r, &l->out, &e->out));
    barrier();
    each_product(j, &l->out, &e->out, &j->wide, ADD, j->residual, width, thread);
    for (int r = first; r < end; r++)
      normalise_and_encode(
          j->residual + (int64_t)r * width, l->ffn_norm, m->eps, width, space, &j->x, r,
          span_of(j, r, &l->gate_up, &e->gate_up));
    barrier();
    each_product(j, &l->gate_up, &e->gate_up, &j->x, GATE, j->hidden, m->n_ff, thread);
    j->wide.blocks = m->n_ff / BLOCK;
    for (int r = first; r < end; r++) 
      encode(j->hidden + (int64_t)r * m->n_ff, &j->wide, r, span_of(j, r, &l->down, &e->down));
    barrier();
    each_product(j, &l->down, &e->down, &j->wide, ADD, j->residual, width, thread);
  }
  for (int i = share(j->n_wanted, thread); i < share(j->n_wanted, thread + 1); i++)
    normalise_and_encode(
        j->residual + (int64_t)j->wanted[i] * width, m->norm, m->eps, width, space, &j->x, i,
        m->head.span);
  barrier();
  multiply(&m->head, &j->x, 0, j->n_wanted - j->n_top, STORE, j->logits, m->head.rows, thread);
  if (!j->n_top) return;
  const vocabulary *v = j->vocabularies;
  for (int row = 0; row < j->n_top; row += v++->n_rows) rank_tokens(j, v, row, thread);
  barrier();
  v = j->vocabularies;
  for (int row = 0, r = share(j->n_top, thread); r < share(j->n_top, thread + 1); r++) {
    while (r >= row + v->n_rows) row += v++->n_rows;
    merge_likeliest(j, v, r);
  }
}

static void *room(void **at, int64_t bytes) {
  void *found = *at;
  *at = (char *)*at + (bytes + 63) / 64 * 64;
  return found;
}

static codes room_for_codes(void **at, int64_t rows, int64_t columns) {
  codes c;
  rows = (rows + ROWS - 1) / ROWS * ROWS;
  c.codes = room(at, rows * columns);
  c.scales = room(at, rows * columns / BLOCK * 4);
  c.sums = room(at, rows * columns / BLOCK * 4);
  c.offsets = room(at, rows * columns / BLOCK * 4);
  c.shifts = room(at, rows * columns / BLOCK * 4);
  c.blocks = (int)(columns / BLOCK);
  return c;
}

/* Lays out what a job needs for a while; from NULL, only to see how much that is. */
static int64_t lay_out(job *j, void *memory, int threads, int longest) {
  const model *m = j->model;
  int64_t n = j->n_rows, mixed = (int64_t)m->n_head * m->head_dim;
  void *at = memory;
  j->residual = room(&at, n * m->n_embd * 4);
  j->heads = room(&at, n * padded((m->n_head + 2 * m->n_kv_head) * m->head_dim) * 4);
  j->mixed = room(&at, n * mixed * 4);
  j->hidden = room(&at, n * m->n_ff * 4);
  j->space = room(&at, (int64_t)threads * m->n_embd * 4);
  j->n_scores = (int64_t)(m->n_head / m->n_kv_head) * padded(longest);
  j->scores = room(&at, threads * j->n_scores * 4);
  j->offsets = room(&at, threads * j->n_scores * 8);
  j->sections = sections_of(m->head.rows);
  j->logits_here = room(&at, (int64_t)threads * j->n_top * AT_ONCE * 4);
  j->maxima = room(&at, (int64_t)j->n_top * j->sections * 4);
  j->sums = room(&at, (int64_t)j->n_top * j->sections * 4);
  j->top = room(&at, (int64_t)threads * j->n_top * j->k * sizeof *j->top);
  j->n_found = room(&at, (int64_t)threads * j->n_top * sizeof *j->n_found);
  j->x = room_for_codes(&at, n, m->n_embd);
  j->wide = room_for_codes(&at, n, m->n_ff > mixed ? m->n_ff : mixed);
  return (char *)at - (char *)memory;
}

/* At least so many bytes, the same each time; only for who holds `callers`. */
static void *workspace(int64_t bytes) {
  static void *memory;
  static int64_t size;
  if (bytes > size) {
    free(memory);
    size = 0;
    if (posix_memalign(&memory, 64, (size_t)bytes)) return memory = NULL;
    size = bytes;
  }
  return memory;
}

/* Appends rows to their streams, and gives the logits of those wanted.

expert:  the layers' matrices for the first `n_expert_rows`.
wanted:  rows whose logits are wanted, then `n_top` of which the k likeliest tokens are.
logits:  of the former, each as many as the head has rows.
vocabularies: for the latter, in their order, which tokens.
log_probs, ids: of the latter, k each.
Returns 0, or -1 where memory is short. Calls wait for each other. */
int mtgen_forward(
    const model *m, const layer *expert, const row *rows, int n_rows,
    int n_expert_rows, const cache *caches, const int32_t *wanted, int n_wanted, float *logits,
    int n_top, int k, const vocabulary *vocabularies, float *log_probs, int64_t *ids, int threads) {
  job j = {.model = m, .expert = expert, .rows = rows, .caches = caches, .wanted = wanted,
           .logits = logits, .n_rows = n_rows, .n_expert_rows = n_expert_rows,
           .n_wanted = n_wanted, .n_top = n_top, .k = k, .vocabularies = vocabularies,
           .log_probs = log_probs, .ids = ids};
  int longest = 0;
  for (int r = 0; r < n_rows; r++) {
    int length = rows[r].slot - rows[r].first + 1;
    longest = length > longest ? length : longest;
  }
  pthread_mutex_lock(&callers);
  void *memory = workspace(lay_out(&j, NULL, threads, longest));
  if (memory) {
    lay_out(&j, memory, threads, longest);
    parallel(forward, &j, threads);
  }
  pthread_mutex_unlock(&callers);
  return memory ? 0 : -1;
}

typedef struct {
  const matrix *m;
  const codes *to;
  const float *x;
  float *y;
  int n_rows;
} single;

static void linear(void *argument, int thread) {
  single *s = argument;
  for (int r = share(s->n_rows, thread); r < share(s->n_rows, thread + 1); r++)
    encode(s->x + (int64_t)r * s->m->columns, s->to, r, s->m->span);
  barrier();
  multiply(s->m, s->to, 0, s->n_rows, STORE, s->y, s->m->rows, thread);
}

/* The product of a matrix with rows of x. Returns as mtgen_forward, and waits like it. */
int mtgen_linear(const matrix *m, const float *x, int n_rows, float *y, int threads) {
  pthread_mutex_lock(&callers);
  void *at = NULL;
  room_for_codes(&at, n_rows, m->columns);
  void *memory = workspace((char *)at - (char *)NULL);
  if (memory) {
    at = memory;
    codes c = room_for_codes(&at, n_rows, m->columns);
    single s = {m, &c, x, y, n_rows};
    parallel(linear, &s, threads);
  }
  pthread_mutex_unlock(&callers);
  return memory ? 0 : -1;
}

/* ---- What may come next ---- */

static int by_logit(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return x->id - y->id;
}

/* The likeliest tokens whose probabilities sum to `top_p` or more, likeliest first.

Returns how many they are, or -1 where memory is short. Touches nothing but its arguments. */
int mtgen_nucleus(
    const float *logits, int vocabulary, double temperature, double top_p, int64_t *ids,
    double *probabilities) {
  int whole = vocabulary / LANES * LANES;
  vec top = v_set(-INFINITY), scale = v_set((float)(1 / temperature));
  for (int i = 0; i < whole; i += LANES) top = v_max(top, v_load(logits + i));
  float most = v_most(top);
  for (int i = whole; i < vocabulary; i++) most = logits[i] > most ? logits[i] : most;
  top = v_set(most);
  double total = 0;
  for (int i = 0; i < whole;) {
    vec sum = v_set(0); /* of some hundred: float32 would lose what the many unlikely ones add */
    int end = i + 64 * LANES < whole ? i + 64 * LANES : whole;
    for (; i < end; i += LANES)
      sum = v_add(sum, v_exp(v_mul(v_sub(v_load(logits + i), top), scale)));
    total += v_sum(sum);
  }
  for (int i = whole; i < vocabulary; i++) total += exp((logits[i] - most) / temperature);
  for (double depth = 6;; depth *= 2) { /* those within so many nats of the likeliest, at first */
    float least = depth > 90 ? -INFINITY : most - (float)(depth * temperature);
    int found = 0, kept = 0, size = 256;
    candidate *some = malloc((size_t)size * sizeof *some);
    for (int i = 0; some && i < vocabulary; i += LANES) {
      unsigned bits = 0;
      if (i < whole) bits = v_reaches(v_load(logits + i), v_set(least));
      else for (int k = 0; i + k < vocabulary; k++) bits |= (unsigned)(logits[i + k] >= least) << k;
      if (bits && found + LANES > size) {
        candidate *more = realloc(some, (size_t)(size *= 2) * sizeof *some);
        if (!more) free(some);
        some = more;
      }
      for (; some && bits; bits &= bits - 1) {
        int id = i + __builtin_ctz(bits);
        some[found++] = (candidate){logits[id], id};
      }
    }
    if (!some) return -1;
    qsort(some, (size_t)found, sizeof *some, by_logit);
    double sum = 0;
    while (kept < found && sum < top_p) {
      double p = exp(((double)some[kept].logit - most) / temperature) / total;
      ids[kept] = some[kept].id;
      probabilities[kept++] = p;
      sum += p;
    }
    free(some);
    if (sum >= top_p || found == vocabulary) return kept;
  }
}
