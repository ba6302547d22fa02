/* The trunk's forward pass on a CPU with AVX2 or AVX-512, for `mtgen.engine.native`.

Weights are 4-bit or 8-bit blocks of 32 columns, as the checkpoint stores them; activations are
rounded to int8, 32 columns a scale, before each product (as ggml does, docs of ggml-org/ggml), and
everything else is float32. What a row gives depends on its own stream alone: whatever else is
computed in the same call, and however a prompt is cut into calls, its sums are made of the same
terms in the same order. `docs/decisions/0011-own-kernels.md` has the measurements.

A tile is 16 outputs by 32 columns. Four bits: byte `4 n + i` of the 64-byte word j holds column
4 j + i of output n in its low half and column 16 + 4 j + i in its high half; then 16 float16
scales and 16 minima. Eight bits: byte `4 n + i` of word j is column 4 j + i of output n, plus 128;
then 16 scales. Tiles of the same outputs lie one after the other. */

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
#define TILE8 544
#define MAX_THREADS 64
#define MAX_GROUP 16 /* query heads that share a key head */
#define MAX_HEAD 16  /* vectors of a head */
#define INLINE static inline __attribute__((always_inline))

/* ---- Sixteen numbers ---- */

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VNNI__)

#define ROWS 8 /* that are multiplied with a tile at once: what fits into registers */
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
} matrix;

/* Rows in int8, 32 columns after each other, of each the ROWS rows that are multiplied at once. */
typedef struct {
  int8_t *codes;
  float *scales;    /* of every 32 columns */
  float *sums;      /* what a minimum of 1 gives for them */
  int32_t *offsets; /* what OFFSET8 adds to their products, to be taken away */
  int blocks;       /* of a row */
} codes;

INLINE int64_t place_of_block(const codes *x, int row, int block) {
  return ((int64_t)(row / ROWS) * x->blocks + block) * ROWS + row % ROWS;
}

static void encode(const float *x, const codes *to, int row) {
  for (int b = 0; b < to->blocks; b++, x += BLOCK) {
    int64_t place = place_of_block(to, row, b);
    int8_t *q = to->codes + place * BLOCK;
    vec low = v_load(x), high = v_load(x + LANES);
    float most = v_most(v_max(v_abs(low), v_abs(high)));
    vec inverse = v_set(most > 0 ? 127.0f / most : 0.0f);
    low = v_round(v_mul(low, inverse));
    high = v_round(v_mul(high, inverse));
    v_bytes(q, low);
    v_bytes(q + LANES, high);
    float total = v_sum(v_add(low, high));
    to->offsets[place] = -OFFSET8 * (int32_t)total;
    to->scales[place] = most / 127.0f;
    to->sums[place] = to->scales[place] * total;
  }
}

static void normalise_and_encode(
    const float *x, const float *weight, float eps, int width, float *space, const codes *to,
    int row) {
  vec sum = v_set(0);
  for (int i = 0; i < width; i += LANES) sum = v_fma(v_load(x + i), v_load(x + i), sum);
  vec scale = v_set(1.0f / sqrtf(v_sum(sum) / (float)width + eps));
  for (int i = 0; i < width; i += LANES)
    v_store(space + i, v_mul(v_mul(v_load(x + i), scale), v_load(weight + i)));
  encode(space, to, row);
}

/* Adds the products of 16 outputs with n rows to `sum`. */
INLINE void add_products(
    const matrix *m, int panel, const codes *x, int row, const int n, const int bits, vec *sum) {
  const int tile_size = bits == 4 ? TILE4 : TILE8, blocks = x->blocks;
  const uint8_t *tile = m->tiles + (int64_t)panel * blocks * tile_size;
  for (int b = 0; b < blocks; b++, tile += tile_size) {
    ivec words[8];
    for (int j = 0; j < (bits == 4 ? 4 : 8); j++) words[j] = i_load(tile + 64 * j);
    vec scale = v_halves(tile + (bits == 4 ? 256 : 512)), least = scale;
    if (bits == 4) {
      for (int j = 0; j < 4; j++) {
        words[j + 4] = i_high(words[j]);
        words[j] = i_low(words[j]);
      }
      least = v_halves(tile + 288);
    }
    int64_t place = place_of_block(x, row, b);
#pragma GCC unroll 8
    for (int r = 0; r < n; r++) {
      const int8_t *q = x->codes + (place + r) * BLOCK;
      ivec total = i_set(bits == 4 ? 0 : x->offsets[place + r]);
      for (int j = 0; j < 8; j++) {
        int32_t four;
        memcpy(&four, q + 4 * j, 4);
        total = bits == 4 ? i_dot4(total, words[j], four) : i_dot8(total, words[j], four);
      }
      sum[r] = v_fma(v_float(total), v_mul(scale, v_set(x->scales[place + r])), sum[r]);
      if (bits == 4) sum[r] = v_fma(least, v_set(x->sums[place + r]), sum[r]);
    }
  }
}

/* A product, and what an expert adds to it: the product of `up` with `inner`. */
typedef struct {
  const matrix *main;
  const codes *x;
  const matrix *up; /* or NULL */
  const codes *inner;
} product;

#define TERMS(n, m, x, sum) \
  ((m)->bits == 4 ? add_products(m, panel, x, row, n, 4, sum) \
                  : add_products(m, panel, x, row, n, 8, sum))
#define ROWS_OF(n) \
  static void panel_of_##n(const product *p, int panel, int row, vec *out) { \
    vec sum[n]; \
    for (int r = 0; r < n; r++) \
      sum[r] = p->main->bias ? v_load(p->main->bias + panel * LANES) : v_set(0); \
    TERMS(n, p->main, p->x, sum); \
    if (p->up) TERMS(n, p->up, p->inner, sum); \
    for (int r = 0; r < n; r++) out[r] = sum[r]; \
  }
ROWS_OF(1)
ROWS_OF(2)
#if ROWS == 8
ROWS_OF(3)
ROWS_OF(4)
ROWS_OF(5)
ROWS_OF(6)
ROWS_OF(7)
ROWS_OF(8)
static void (*const panels_of[])(const product *, int, int, vec *) = {
    NULL,       panel_of_1, panel_of_2, panel_of_3, panel_of_4,
    panel_of_5, panel_of_6, panel_of_7, panel_of_8};
#else
static void (*const panels_of[])(const product *, int, int, vec *) = {NULL, panel_of_1, panel_of_2};
#endif

typedef enum { STORE, ADD, GATE } mode;

/* Rows `first` to `end` of a product; GATE takes pairs of panels, gate and up, and gives
silu(gate) * up. */
static void multiply(
    const product *p, int first, int end, mode how, float *y, int64_t stride, int thread) {
  int panels = p->main->rows / LANES, wide = how == GATE ? 2 : 1;
  int last = share(panels / wide, thread + 1);
  for (int panel = share(panels / wide, thread); panel < last; panel++) {
    for (int row = first, n; row < end; row += n) {
      n = ROWS - row % ROWS < end - row ? ROWS - row % ROWS : end - row;
      vec out[ROWS], up[ROWS];
      panels_of[n](p, panel * wide, row, out);
      if (how == GATE) panels_of[n](p, panel * wide + 1, row, up);
      for (int r = 0; r < n; r++) {
        float *to = y + (row + r) * stride + panel * LANES;
        vec x = out[r];
        if (how == ADD) x = v_add(v_load(to), x);
        if (how == GATE) {
          vec one = v_set(1);
          x = v_mul(v_div(x, v_add(one, v_exp(v_sub(v_set(0), x)))), up[r]);
        }
        v_store(to, x);
      }
    }
  }
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
  matrix down, up; /* rows of `down` are 0 where there is no update */
} update;

typedef struct {
  update qkv, out, gate_up, down;
} updates; /* of a layer */

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
  const model *model;
  const updates *expert;
  const row *rows;
  const cache *caches;
  const int32_t *wanted; /* rows whose logits are wanted, at the end those of which the likeliest */
  float *logits;
  int n_rows, n_expert_rows, n_wanted; /* rows of the expert come first */
  int n_top, k;                        /* rows of which the k likeliest tokens are wanted */
  float *log_probs;
  int64_t *ids;
  int vocabulary;
  float *residual, *heads, *mixed, *hidden, *inner, *space, *scores, *all, *maxima;
  int64_t *offsets;
  codes x, wide, low; /* of a row's state, of its hidden layer, and of an expert's inner one */
  int64_t n_scores;   /* room for scores of one thread */
} job;

static int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

static void embed(const matrix *m, int id, float *to) {
  int size = m->bits == 4 ? TILE4 : TILE8, lane = id % LANES, blocks = m->columns / BLOCK;
  const uint8_t *tile = m->tiles + (int64_t)(id / LANES) * blocks * size;
  for (int b = 0; b < blocks; b++, tile += size, to += BLOCK) {
    float scale[LANES], least[LANES];
    v_store(scale, v_halves(tile + (m->bits == 4 ? 256 : 512)));
    if (m->bits == 4) v_store(least, v_halves(tile + 288));
    for (int i = 0; i < BLOCK; i++) {
      if (m->bits == 4) {
        int byte = tile[i % 16 / 4 * 64 + lane * 4 + i % 4];
        to[i] = scale[lane] * (float)(i < 16 ? byte & 15 : byte >> 4) + least[lane];
      } else {
        to[i] = scale[lane] * (float)(tile[i / 4 * 64 + lane * 4 + i % 4] - 128);
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

/* The inner layer of an expert's update, of the rows that it is for. */
static void read_update(const job *j, const update *u, const codes *x, int thread) {
  int rank = u->down.rows, end = share(j->n_expert_rows, thread + 1);
  product down = {&u->down, x, NULL, NULL};
  multiply(&down, 0, j->n_expert_rows, STORE, j->inner, rank, thread);
  barrier();
  for (int r = share(j->n_expert_rows, thread); r < end; r++)
    encode(j->inner + (int64_t)r * rank, &j->low, r);
  barrier();
}

static void updated_product(
    job *j, const matrix *main, const update *u, const codes *x, mode how, float *y,
    int64_t stride, int thread) {
  int with = u && u->down.rows ? j->n_expert_rows : 0;
  if (with) {
    j->low.blocks = u->down.rows / BLOCK;
    read_update(j, u, x, thread);
    product both = {main, x, &u->up, &j->low};
    multiply(&both, 0, with, how, y, stride, thread);
  }
  product alone = {main, x, NULL, NULL};
  multiply(&alone, with, j->n_rows, how, y, stride, thread);
  barrier();
}

typedef struct {
  float logit;
  int32_t id;
} candidate;

#define SECTION 128 /* tokens that are passed over together where the largest is too small */
#define MOST_TOP 64
#define TOP_ROWS 64 /* whose logits are held at once */

/* The k likeliest tokens of one row and their log-probabilities. */
static void likeliest(const job *j, const float *logits, int row, float *maxima) {
  int n = j->vocabulary, sections = (n + SECTION - 1) / SECTION, found = 0;
  float most = -INFINITY;
  for (int s = 0; s < sections; s++) {
    maxima[s] = -INFINITY;
    for (int i = s * SECTION; i < n && i < (s + 1) * SECTION; i++)
      maxima[s] = logits[i] > maxima[s] ? logits[i] : maxima[s];
    most = maxima[s] > most ? maxima[s] : most;
  }
  double total = 0;
  for (int s = 0; s < sections; s++) {
    vec sum = v_set(0);
    int i = s * SECTION;
    for (; i + LANES <= n && i < (s + 1) * SECTION; i += LANES)
      sum = v_add(sum, v_exp(v_sub(v_load(logits + i), v_set(most))));
    total += v_sum(sum);
    for (; i < n && i < (s + 1) * SECTION; i++) total += expf(logits[i] - most);
  }
  candidate top[MOST_TOP];
  float least = -INFINITY; /* of those found, once they are k */
  for (int s = 0; s < sections; s++) {
    if (maxima[s] < least) continue;
    for (int i = s * SECTION; i < n && i < (s + 1) * SECTION; i++) {
      if (found == j->k && logits[i] <= least) continue;
      int at = found < j->k ? found++ : j->k - 1; /* ties go to the smaller id */
      for (; at && top[at - 1].logit < logits[i]; at--) top[at] = top[at - 1];
      top[at] = (candidate){logits[i], i};
      if (found == j->k) least = top[j->k - 1].logit;
    }
  }
  float log_total = most + (float)log(total);
  for (int i = 0; i < found; i++) {
    j->log_probs[(int64_t)row * j->k + i] = top[i].logit - log_total;
    j->ids[(int64_t)row * j->k + i] = top[i].id;
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
    const updates *u = j->expert ? j->expert + index : NULL;
    j->x.blocks = width / BLOCK;
    for (int r = first; r < end; r++)
      normalise_and_encode(
          j->residual + (int64_t)r * width, l->attn_norm, m->eps, width, space, &j->x, r);
    barrier();
    updated_product(j, &l->qkv, u ? &u->qkv : NULL, &j->x, STORE, j->heads, heads, thread);
    for (int r = first; r < end; r++) rotate_and_keep(j, index, r);
    barrier();
    int units = j->n_rows * m->n_kv_head;
    for (int unit = share(units, thread); unit < share(units, thread + 1); unit++)
      attend_row(j, index, unit, scores, offsets);
    barrier();
    j->wide.blocks = mixed / BLOCK;
    for (int r = first; r < end; r++) encode(j->mixed + (int64_t)r * mixed, &j->wide, r);
    barrier();
    updated_product(j, &l->out, u ? &u->out : NULL, &j->wide, ADD, j->residual, width, thread);
    for (int r = first; r < end; r++)
      normalise_and_encode(
          j->residual + (int64_t)r * width, l->ffn_norm, m->eps, width, space, &j->x, r);
    barrier();
    updated_product(
        j, &l->gate_up, u ? &u->gate_up : NULL, &j->x, GATE, j->hidden, m->n_ff, thread);
    j->wide.blocks = m->n_ff / BLOCK;
    for (int r = first; r < end; r++) encode(j->hidden + (int64_t)r * m->n_ff, &j->wide, r);
    barrier();
    updated_product(j, &l->down, u ? &u->down : NULL, &j->wide, ADD, j->residual, width, thread);
  }
  for (int i = share(j->n_wanted, thread); i < share(j->n_wanted, thread + 1); i++)
    normalise_and_encode(
        j->residual + (int64_t)j->wanted[i] * width, m->norm, m->eps, width, space, &j->x, i);
  barrier();
  product head = {&m->head, &j->x, NULL, NULL};
  int n_whole = j->n_wanted - j->n_top;
  multiply(&head, 0, n_whole, STORE, j->logits, m->head.rows, thread);
  float *maxima = j->maxima + (int64_t)thread * (m->head.rows / SECTION + 1);
  for (int i = n_whole, n; i < j->n_wanted; i += n) { /* all logits of many rows would be 50 MB */
    n = j->n_wanted - i < TOP_ROWS ? j->n_wanted - i : TOP_ROWS;
    multiply(&head, i, i + n, STORE, j->all - (int64_t)i * m->head.rows, m->head.rows, thread);
    barrier();
    for (int r = share(n, thread); r < share(n, thread + 1); r++)
      likeliest(j, j->all + (int64_t)r * m->head.rows, i - n_whole + r, maxima);
    barrier();
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
  c.blocks = (int)(columns / BLOCK);
  return c;
}

/* Lays out what a job needs for a while; from NULL, only to see how much that is. */
static int64_t lay_out(job *j, void *memory, int threads, int rank, int longest) {
  const model *m = j->model;
  int64_t n = j->n_rows, mixed = (int64_t)m->n_head * m->head_dim;
  void *at = memory;
  j->residual = room(&at, n * m->n_embd * 4);
  j->heads = room(&at, n * padded((m->n_head + 2 * m->n_kv_head) * m->head_dim) * 4);
  j->mixed = room(&at, n * mixed * 4);
  j->hidden = room(&at, n * m->n_ff * 4);
  j->inner = room(&at, n * rank * 4);
  j->space = room(&at, (int64_t)threads * m->n_embd * 4);
  j->n_scores = (int64_t)(m->n_head / m->n_kv_head) * padded(longest);
  j->scores = room(&at, threads * j->n_scores * 4);
  j->offsets = room(&at, threads * j->n_scores * 8);
  int n_held = j->n_top < TOP_ROWS ? j->n_top : TOP_ROWS;
  j->all = room(&at, (int64_t)n_held * m->head.rows * 4);
  j->maxima = room(&at, (int64_t)threads * (m->head.rows / SECTION + 1) * 4);
  j->x = room_for_codes(&at, n, m->n_embd);
  j->wide = room_for_codes(&at, n, m->n_ff > mixed ? m->n_ff : mixed);
  j->low = room_for_codes(&at, n, rank);
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

rank:    most rows of an expert's `down`, a multiple of 32, or 0.
wanted:  rows whose logits are wanted, then `n_top` of which the k likeliest tokens are.
logits:  of the former, each as many as the head has rows.
log_probs, ids: of the latter, k each.
Returns 0, or -1 where memory is short. Calls wait for each other. */
int mtgen_forward(
    const model *m, const updates *expert, int rank, const row *rows, int n_rows,
    int n_expert_rows, const cache *caches, const int32_t *wanted, int n_wanted, float *logits,
    int n_top, int k, int vocabulary, float *log_probs, int64_t *ids, int threads) {
  job j = {.model = m, .expert = expert, .rows = rows, .caches = caches, .wanted = wanted,
           .logits = logits, .n_rows = n_rows, .n_expert_rows = n_expert_rows,
           .n_wanted = n_wanted, .n_top = n_top, .k = k, .vocabulary = vocabulary,
           .log_probs = log_probs, .ids = ids};
  int longest = 0;
  for (int r = 0; r < n_rows; r++) {
    int length = rows[r].slot - rows[r].first + 1;
    longest = length > longest ? length : longest;
  }
  pthread_mutex_lock(&callers);
  void *memory = workspace(lay_out(&j, NULL, threads, rank, longest));
  if (memory) {
    lay_out(&j, memory, threads, rank, longest);
    parallel(forward, &j, threads);
  }
  pthread_mutex_unlock(&callers);
  return memory ? 0 : -1;
}

typedef struct {
  product p;
  const codes *to;
  const float *x;
  float *y;
  int n_rows;
} single;

static void linear(void *argument, int thread) {
  single *s = argument;
  int columns = s->p.main->columns;
  for (int r = share(s->n_rows, thread); r < share(s->n_rows, thread + 1); r++)
    encode(s->x + (int64_t)r * columns, s->to, r);
  barrier();
  multiply(&s->p, 0, s->n_rows, STORE, s->y, s->p.main->rows, thread);
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
    single s = {{m, &c, NULL, NULL}, &c, x, y, n_rows};
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
