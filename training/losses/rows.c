/* DeCE over rows of fp32 logits, in place. The mathematics and its names are in dece.py; Blend there is q_t,
 * q_c, alpha and floor here. Three sweeps over a row that stays in the cache: maximum; exp and sum; log and
 * weights; gradient. No fast-math: a NaN must come out as a NaN and -inf as probability 0.
 *
 * Sums run in fp32 over BLOCK entries and in double over blocks, which keeps 300,000 classes at fp32 accuracy.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 2048

static inline float bits_to_float(int32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline int32_t float_to_bits(float f) { int32_t bits; memcpy(&bits, &f, 4); return bits; }

/* exp of x <= 0, relative error below 2e-7; 0 below -87, where fp32 runs out of normal numbers.
 * Cody and Waite's reduction, then the Taylor polynomial of degree 7 on [-ln 2 / 2, ln 2 / 2]. */
static inline float exp_nonpositive(float x) {
  float held = x < -87.0f ? -87.0f : x;
  float n = rintf(held * 1.44269504f);
  float r = held - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float y = 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r * r + r + 1.0f;
  float power = bits_to_float(((int32_t)n + 127) << 23);
  return x < -87.0f ? 0.0f : y * power;
}

/* log of finite x >= 1, absolute error below 2e-7: x = 2^n m with m in [sqrt(1/2), sqrt(2)), then
 * log m = 2 artanh((m - 1) / (m + 1)) by its series. */
static inline float log_from_one(float x) {
  int32_t bits = float_to_bits(x) - 0x3f3504f3;
  float n = (float)(bits >> 23);
  float m = bits_to_float((bits & 0x007fffff) + 0x3f3504f3);
  float s = (m - 1.0f) / (m + 1.0f);
  float t = s * s;
  float y = 1.0f / 9;
  y = y * t + 1.0f / 7;
  y = y * t + 1.0f / 5;
  y = y * t + 1.0f / 3;
  y = y * t + 1.0f;
  return n * 0.69314718f + 2.0f * s * y;
}

static float row_max(const float *z, int64_t v) {
  float m = -INFINITY;
#pragma omp simd reduction(max : m)
  for (int64_t i = 0; i < v; i++) m = z[i] > m ? z[i] : m;
  return m;
}

/* z becomes exp(z - m); returns the sum. */
static double row_exp(float *z, int64_t v, float m) {
  double total = 0.0;
  for (int64_t from = 0; from < v; from += BLOCK) {
    int64_t to = from + BLOCK < v ? from + BLOCK : v;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; i++) {
      z[i] = exp_nonpositive(z[i] - m);
      sum += z[i];
    }
    total += sum;
  }
  return total;
}

/* Sums over the classes of log(1 + k p) and k p / (1 + k p). */
static void row_weights(const float *e, int64_t v, float inverse, float k, double *logs, double *weights) {
  *logs = *weights = 0.0;
  for (int64_t from = 0; from < v; from += BLOCK) {
    int64_t to = from + BLOCK < v ? from + BLOCK : v;
    float log_sum = 0.0f, weight_sum = 0.0f;
#pragma omp simd reduction(+ : log_sum, weight_sum)
    for (int64_t i = from; i < to; i++) {
      float kp = e[i] * inverse * k;
      log_sum += log_from_one(1.0f + kp);
      weight_sum += kp / (1.0f + kp);
    }
    *logs += log_sum;
    *weights += weight_sum;
  }
}

static void row_gradient(float *e, int64_t v, float inverse, float k, float pushed, float pulled) {
#pragma omp simd
  for (int64_t i = 0; i < v; i++) {
    float kp = e[i] * inverse * k;
    e[i] = e[i] * inverse * pushed - pulled * (kp / (1.0f + kp));
  }
}

/* The same two with the artifact's clamp: p held at the floor, and no weight for a class below it. */
static void clamped_weights(const float *e, int64_t v, float inverse, float k, float floor, double *logs,
                            double *weights) {
  *logs = *weights = 0.0;
  for (int64_t from = 0; from < v; from += BLOCK) {
    int64_t to = from + BLOCK < v ? from + BLOCK : v;
    float log_sum = 0.0f, weight_sum = 0.0f;
#pragma omp simd reduction(+ : log_sum, weight_sum)
    for (int64_t i = from; i < to; i++) {
      float p = e[i] * inverse;
      float held = p < floor ? floor : p;
      log_sum += log_from_one(1.0f + k * held);
      weight_sum += p < floor ? 0.0f : k * p / (1.0f + k * held);
    }
    *logs += log_sum;
    *weights += weight_sum;
  }
}

static void clamped_gradient(float *e, int64_t v, float inverse, float k, float floor, float pushed, float pulled) {
#pragma omp simd
  for (int64_t i = 0; i < v; i++) {
    float p = e[i] * inverse;
    float weight = p < floor ? 0.0f : k * p / (1.0f + k * p);
    e[i] = p * pushed - pulled * weight;
  }
}

static void row_scale(float *e, int64_t v, float factor, float less) {
#pragma omp simd
  for (int64_t i = 0; i < v; i++) e[i] = e[i] * factor - less;
}

/* Sum of z - m: how far the row lies below its maximum. */
static double row_below(const float *z, int64_t v, float m) {
  double total = 0.0;
  for (int64_t from = 0; from < v; from += BLOCK) {
    int64_t to = from + BLOCK < v ? from + BLOCK : v;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; i++) sum += z[i] - m;
    total += sum;
  }
  return total;
}

struct blend {
  double alpha, on, off, floor;
};

struct row {
  double loss, pull, others;
};

/* alpha = 1 without a clamp: label-smoothed cross-entropy, plain with off = 0. */
static struct row smoothed_row(float *z, int64_t v, int64_t t, float scale, const struct blend *b) {
  float m = row_max(z, v), z_t = z[t];
  z[t] = m;
  double below = b->off > 0.0 ? row_below(z, v, m) : 0.0;
  z[t] = -INFINITY;
  double rest = row_exp(z, v, m), e_t = exp((double)z_t - m), sum = rest + e_t;
  double log_sum = log(sum), others = rest / sum;
  struct row out = {b->on * (log_sum + ((double)m - z_t)), others - (1.0 - b->on), others};
  if (b->off > 0.0) out.loss += b->off * ((v - 1) * log_sum - below);
  row_scale(z, v, (float)(scale / sum), (float)(scale * b->off));
  z[t] = (float)(-scale * out.pull);
  return out;
}

static struct row blended_row(float *z, int64_t v, int64_t t, float scale, const struct blend *b) {
  float m = row_max(z, v), z_t = z[t];
  z[t] = -INFINITY; /* the target's class is handled in double; here its probability is 0 */
  double rest = row_exp(z, v, m), e_t = exp((double)z_t - m), sum = rest + e_t;
  double p_t = e_t / sum, others = rest / sum, base = (1.0 - b->alpha) * b->off;
  double held_t = p_t < b->floor ? b->floor : p_t;
  double blend_t = b->alpha * held_t + (1.0 - b->alpha) * b->on;
  double w_t = p_t < b->floor ? 0.0 : b->on * b->alpha * p_t / blend_t, weights = 0.0, logs = 0.0;
  float inverse = (float)(1.0 / sum), k = b->off > 0.0 ? (float)(b->alpha / base) : 0.0f, floor = (float)b->floor;
  struct row out = {0.0, 0.0, others};
  if (b->off == 0.0) {
    out.loss = b->floor > 0.0 || others >= 0.5 ? -log(blend_t) : -log1p(-b->alpha * others);
    row_scale(z, v, (float)(scale * w_t / sum), 0.0f);
  } else {
    if (floor > 0.0f) {
      clamped_weights(z, v, inverse, k, floor, &logs, &weights);
      logs -= log1p((double)k * floor); /* the target's own entry, held at the floor */
    } else {
      row_weights(z, v, inverse, k, &logs, &weights);
    }
    weights *= b->off;
    out.loss = -b->on * log(blend_t) - b->off * (logs + (v - 1) * log(base));
    float pushed = (float)(scale * (weights + w_t)), pulled = (float)(scale * b->off);
    if (floor > 0.0f) clamped_gradient(z, v, inverse, k, floor, pushed, pulled);
    else row_gradient(z, v, inverse, k, pushed, pulled);
  }
  out.pull = others * w_t - p_t * weights;
  z[t] = (float)(-scale * out.pull);
  return out;
}

/* logits [n, v], rows contiguous, overwritten with scale * gradient; the other arrays [n]. */
void temper_dece_rows(float *logits, int64_t n, int64_t v, const int64_t *targets, const float *scale, double alpha,
                      double on, double off, double floor, int blended, float *loss, float *pull, float *others) {
  struct blend b = {alpha, on, off, floor};
  for (int64_t r = 0; r < n; r++) {
    float *z = logits + r * v;
    struct row out = blended ? blended_row(z, v, targets[r], scale[r], &b) : smoothed_row(z, v, targets[r], scale[r], &b);
    loss[r] = (float)out.loss;
    pull[r] = (float)out.pull;
    others[r] = (float)out.others;
  }
}
