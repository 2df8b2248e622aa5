//! Rows of one bit a value: the signs of a vector's way from the centre, after a rotation.
//!
//! Rotated at random, the ways of two vectors from the centre meet by chance in the sign of a value more often the
//! smaller the angle between them is, and of the product of one with the other's signs as much is known as the angle
//! leaves to chance (this is what RaBitQ does: Gao and Long, SIGMOD 2024). A few hundred signs tell near from far, and
//! not the nearest from the next but one: who searches by them takes a longer list, and scores it from better rows.
//!
//! The rotation is made of sign flips and Hadamard transforms, drawn from a fixed seed, so that it need not be kept;
//! the centre is the start vector of the graph. A code can be given in the place of a vector, as an [`Code::carried`]
//! form of it: a row that moves stays what it was.
//!
//! ```text
//! signs, in words of 64 | factor: |way|^2 over the sum of the sizes of its values, f32 | length of the way, f32 |
//! product of vector and centre, f32          all little-endian
//! ```

use std::cell::RefCell;

use diskann::{ANNError, ANNResult};
use diskann_inmem::num::Bytes;
use diskann_inmem::repr::quantized::{
    Distance, DistanceVisitor, Quantizer, QueryDistance, QueryDistanceVisitor,
};
use half::f16;
use pando_model::Metric;

const WORD_BITS: usize = u64::BITS as usize;
const WORD_BYTES: usize = size_of::<u64>();
/// Bytes of what stands after the signs.
const SCALARS_BYTES: usize = 3 * size_of::<f32>();
/// Bits of a value of a query. What they lose is far less than what the signs of rows do.
const PLANES: usize = 6;
/// The largest of such values.
const LEVELS: f32 = ((1 << PLANES) - 1) as f32;
/// Rounds of flips and transforms. Two mix what is mixed at all; an odd dimension needs both ends to meet.
const ROUNDS: usize = 4;

/// Bytes of a code.
pub(super) fn bytes(dimension: usize) -> usize {
    dimension.div_ceil(WORD_BITS) * WORD_BYTES + SCALARS_BYTES
}

/// What makes codes of vectors, and tells distances by them.
pub(super) struct Signs {
    metric: Metric,
    dimension: usize,
    centre: Vec<f32>,
    /// The centre's squared length.
    centre_squared: f32,
    flips: Vec<[f32; ROUNDS]>,
    /// The cosine of the angle between two ways, by how many of their signs differ.
    cosines: Vec<f32>,
}

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signs({}, {})", self.metric, self.dimension)
    }
}

impl Signs {
    /// For vectors around a centre.
    pub(super) fn new(metric: Metric, centre: &[f16]) -> Self {
        let centre: Vec<f32> = centre.iter().map(|value| value.to_f32()).collect();
        let dimension = centre.len();
        let mut seed = 0_u64;
        let mut flip = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if mixed >> 63 == 1 { -1.0 } else { 1.0 }
        };
        let flips = (0..dimension).map(|_| std::array::from_fn(|_| flip()));
        let cosine = |differ: usize| {
            let share = 1.0 - 2.0 * differ as f32 / dimension as f32;
            (std::f32::consts::FRAC_PI_2 * share).sin()
        };
        Self {
            metric,
            dimension,
            centre_squared: squared(&centre),
            flips: flips.collect(),
            cosines: (0..=dimension).map(cosine).collect(),
            centre,
        }
    }

    /// The way from the centre to a vector, rotated.
    fn way(&self, vector: &[f32]) -> Vec<f32> {
        let ways = vector.iter().zip(&self.centre);
        let mut way: Vec<f32> = ways.map(|(value, centre)| value - centre).collect();
        let block = 1 << self.dimension.max(1).ilog2();
        let scale = (block as f32).sqrt().recip();
        for round in 0..ROUNDS {
            for (value, flips) in way.iter_mut().zip(&self.flips) {
                *value *= flips[round];
            }
            // Of the first values in one round, and of the last ones in the next: together they are all.
            let from = if round % 2 == 0 {
                0
            } else {
                self.dimension - block
            };
            let block = &mut way[from..][..block];
            hadamard(block);
            block.iter_mut().for_each(|value| *value *= scale);
        }
        way
    }

    fn code(&self, vector: &[f32]) -> Code {
        let way = self.way(vector);
        let mut signs = vec![0_u64; self.dimension.div_ceil(WORD_BITS)];
        for (i, value) in way.iter().enumerate() {
            signs[i / WORD_BITS] |= u64::from(*value >= 0.0) << (i % WORD_BITS);
        }
        let (squared, sum) = (
            squared(&way),
            way.iter().map(|value| value.abs()).sum::<f32>(),
        );
        let product = vector.iter().zip(&self.centre);
        Code {
            signs,
            factor: if sum > 0.0 { squared / sum } else { 0.0 },
            length: squared.sqrt(),
            by_centre: product.map(|(value, centre)| value * centre).sum(),
        }
    }

    /// From the product of two ways, and what else there is to know of both vectors.
    fn distance_of(&self, product: f32, lengths: [f32; 2], by_centre: [f32; 2]) -> f32 {
        let by_centre = by_centre[0] + by_centre[1] - self.centre_squared;
        match self.metric {
            Metric::Cosine => (1.0 - by_centre - product).max(0.0),
            Metric::Euclidean => {
                let squares = lengths[0] * lengths[0] + lengths[1] * lengths[1];
                (squares - 2.0 * product).max(0.0)
            }
            Metric::Dot | Metric::Manhattan | Metric::Poincare => -(by_centre + product),
        }
    }

    fn split<'a>(&self, code: &'a [u8]) -> ANNResult<Split<'a>> {
        let words = self.dimension.div_ceil(WORD_BITS) * WORD_BYTES;
        let (signs, scalars) = (code.split_at_checked(words))
            .filter(|(_, scalars)| scalars.len() == SCALARS_BYTES)
            .ok_or_else(|| ANNError::message("a code is of another length"))?;
        let scalars = scalars.as_chunks().0;
        let scalar = |i: usize| f32::from_le_bytes(scalars[i]);
        Ok(Split {
            signs: signs.as_chunks().0,
            factor: scalar(0),
            length: scalar(1),
            by_centre: scalar(2),
        })
    }
}

fn squared(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum()
}

/// In place, without its scale; of a power of two of values.
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// A code in parts.
struct Code {
    signs: Vec<u64>,
    factor: f32,
    length: f32,
    by_centre: f32,
}

impl Code {
    fn write(&self, into: &mut [u8]) {
        let signs = self.signs.iter().flat_map(|word| word.to_le_bytes());
        let scalars = [self.factor, self.length, self.by_centre];
        let scalars = scalars.iter().flat_map(|value| value.to_le_bytes());
        for (into, byte) in into.iter_mut().zip(signs.chain(scalars)) {
            *into = byte;
        }
    }
}

/// A code as it lies in memory.
struct Split<'a> {
    signs: &'a [[u8; WORD_BYTES]],
    factor: f32,
    length: f32,
    by_centre: f32,
}

/// The form in which a code is given in the place of a vector of that dimension: no vector begins with such a value.
pub(super) fn carried(code: &[u8], dimension: usize) -> Box<[f16]> {
    let halves = code.as_chunks().0.iter();
    let halves = halves.map(|half| f16::from_bits(u16::from_le_bytes(*half)));
    let padding = std::iter::repeat(f16::ZERO);
    let values = std::iter::once(f16::NAN).chain(halves).chain(padding);
    values.take(dimension).collect()
}

/// A vector, or what is given in its place, as the library takes it: bits of a code as the numbers that they are.
pub(super) fn widened(vector: &[f16]) -> Vec<f32> {
    match vector.split_first() {
        Some((first, rest)) if first.is_nan() => {
            let rest = rest.iter().map(|half| f32::from(half.to_bits()));
            std::iter::once(f32::NAN).chain(rest).collect()
        }
        _ => vector.iter().map(|value| value.to_f32()).collect(),
    }
}

/// The code that is given in a vector's place, if one is.
fn given(vector: &[f32], into: &mut [u8]) -> bool {
    let Some((first, rest)) = vector.split_first() else {
        return false;
    };
    if !first.is_nan() {
        return false;
    }
    for (into, half) in into.as_chunks_mut::<2>().0.iter_mut().zip(rest) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was made of a u16"
        )]
        let half = *half as u16;
        *into = half.to_le_bytes();
    }
    true
}

thread_local! {
    /// The code whose distance from itself was asked for last: the library gives no other way to read one.
    static TOLD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The code whose distance from itself this thread has just asked for.
pub(super) fn told() -> Vec<u8> {
    TOLD.take()
}

/// Of two codes.
#[derive(Debug)]
struct BetweenCodes<'a>(&'a Signs);

impl Distance for BetweenCodes<'_> {
    fn eval(&self, x: &[u8], y: &[u8]) -> ANNResult<f32> {
        if std::ptr::eq(x, y) {
            TOLD.set(x.to_vec());
        }
        let (x, y) = (self.0.split(x)?, self.0.split(y)?);
        let words = x.signs.iter().zip(y.signs);
        let differ: u32 = words
            .map(|(x, y)| (u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y)).count_ones())
            .sum();
        let cosine = self.0.cosines[differ as usize];
        let product = x.length * y.length * cosine;
        let (lengths, by_centre) = ([x.length, y.length], [x.by_centre, y.by_centre]);
        Ok(self.0.distance_of(product, lengths, by_centre))
    }
}

/// Of a vector, in a few bits a value, from codes.
#[derive(Debug)]
struct FromVector<'a> {
    signs: &'a Signs,
    /// Bit by bit of the values, for each word of signs.
    planes: Vec<[u64; PLANES]>,
    /// The sum of the values where the sign is positive is this for each of them,
    least: f32,
    /// and this for each step above.
    step: f32,
    /// The sum of all values.
    sum: f32,
    length: f32,
    by_centre: f32,
}

impl<'a> FromVector<'a> {
    fn new(signs: &'a Signs, vector: &[f32]) -> Self {
        let way = signs.way(vector);
        let least = way.iter().copied().fold(f32::INFINITY, f32::min);
        let most = way.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = (most - least) / LEVELS;
        let mut planes = vec![[0; PLANES]; signs.dimension.div_ceil(WORD_BITS)];
        let mut sum = 0.0;
        for (i, value) in way.iter().enumerate() {
            let level = match step > 0.0 {
                true => ((value - least) / step).round().clamp(0.0, LEVELS),
                false => 0.0,
            };
            sum += least + step * level;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between zero and the number of levels"
            )]
            let level = level as u64;
            for (bit, plane) in planes[i / WORD_BITS].iter_mut().enumerate() {
                *plane |= (level >> bit & 1) << (i % WORD_BITS);
            }
        }
        let product = vector.iter().zip(&signs.centre);
        Self {
            signs,
            planes,
            least,
            step,
            sum,
            length: squared(&way).sqrt(),
            by_centre: product.map(|(value, centre)| value * centre).sum(),
        }
    }
}

impl QueryDistance for FromVector<'_> {
    fn eval(&self, code: &[u8]) -> ANNResult<f32> {
        let code = self.signs.split(code)?;
        let (mut positive, mut levels) = (0, [0; PLANES]);
        for (word, planes) in code.signs.iter().zip(&self.planes) {
            let word = u64::from_le_bytes(*word);
            positive += word.count_ones();
            for (level, plane) in levels.iter_mut().zip(planes) {
                *level += (word & plane).count_ones();
            }
        }
        let weighted = levels.iter().enumerate().map(|(bit, count)| count << bit);
        let levels: u32 = weighted.sum();
        let positive = self.least * positive as f32 + self.step * levels as f32;
        // What is positive counts once, and what is not counts against it.
        let product = code.factor * (2.0 * positive - self.sum);
        let (lengths, by_centre) = ([self.length, code.length], [self.by_centre, code.by_centre]);
        Ok(self.signs.distance_of(product, lengths, by_centre))
    }
}

/// Of a code that was given in a vector's place from others.
#[derive(Debug)]
struct FromCode<'a> {
    between: BetweenCodes<'a>,
    code: Vec<u8>,
}

impl QueryDistance for FromCode<'_> {
    fn eval(&self, code: &[u8]) -> ANNResult<f32> {
        self.between.eval(&self.code, code)
    }
}

impl Quantizer for Signs {
    fn bytes(&self) -> Bytes {
        Bytes::new(bytes(self.dimension))
    }

    fn dim(&self) -> usize {
        self.dimension
    }

    fn quantize(&self, quantized: &mut [u8], data: &[f32]) -> ANNResult<()> {
        if !given(data, quantized) {
            self.code(data).write(quantized);
        }
        Ok(())
    }

    fn distance<'a, V>(&'a self, visitor: V) -> V::Output
    where
        V: DistanceVisitor<'a>,
    {
        visitor.visit(BetweenCodes(self))
    }

    fn query_distance<'a, V>(&'a self, query: &'a [f32], visitor: V) -> ANNResult<V::Output>
    where
        V: QueryDistanceVisitor<'a>,
    {
        let mut code = vec![0; bytes(self.dimension)];
        Ok(match given(query, &mut code) {
            true => visitor.visit(FromCode {
                between: BetweenCodes(self),
                code,
            }),
            false => visitor.visit(FromVector::new(self, query)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: u64, dimension: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..dimension)
            .map(|_| next() + next() + next() + next())
            .collect()
    }

    fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        let length = squared(&vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }

    fn signs(metric: Metric, dimension: usize) -> Signs {
        let centre = unit(vector(7, dimension));
        let centre: Vec<f16> = centre.iter().map(|v| f16::from_f32(v * 0.4)).collect();
        Signs::new(metric, &centre)
    }

    fn code(signs: &Signs, vector: &[f32]) -> Vec<u8> {
        let mut code = vec![0; bytes(signs.dimension)];
        signs.quantize(&mut code, vector).expect("it fits");
        code
    }

    fn product(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_rotation_keeps_lengths_and_products() {
        for dimension in [64, 65, 96, 127, 384, 1000] {
            let signs = Signs::new(Metric::Dot, &vec![f16::ZERO; dimension]);
            let (a, b) = (vector(1, dimension), vector(2, dimension));
            let (ra, rb) = (signs.way(&a), signs.way(&b));
            assert!(
                (product(&ra, &rb) - product(&a, &b)).abs() < 1e-2,
                "{dimension}"
            );
            assert!(
                (squared(&ra) / squared(&a) - 1.0).abs() < 1e-3,
                "{dimension}"
            );
        }
    }

    /// What is told of a distance differs from it by what the signs of so many values leave to chance.
    #[test]
    fn distances_are_about_right() {
        for (metric, dimension) in [
            (Metric::Cosine, 384),
            (Metric::Cosine, 100),
            (Metric::Dot, 384),
            (Metric::Euclidean, 384),
        ] {
            let signs = signs(metric, dimension);
            let (mut by_vector, mut by_code) = (0.0, 0.0);
            for seed in 1..200 {
                let a = unit(vector(seed, dimension));
                let other = unit(vector(seed + 1000, dimension));
                let near = (seed % 10) as f32 / 10.0;
                let b: Vec<f32> = a.iter().zip(&other).map(|(a, o)| a * near + o).collect();
                let b = unit(b);
                let truth = match metric {
                    Metric::Cosine => 1.0 - product(&a, &b),
                    Metric::Dot => -product(&a, &b),
                    _ => 2.0 - 2.0 * product(&a, &b),
                };
                let b = code(&signs, &b);
                let found = FromVector::new(&signs, &a).eval(&b).expect("it fits");
                by_vector += (found - truth).powi(2) / 199.0;
                let found = BetweenCodes(&signs).eval(&code(&signs, &a), &b);
                by_code += (found.expect("it fits") - truth).powi(2) / 199.0;
            }
            let chance = (dimension as f32).sqrt().recip()
                * if metric == Metric::Euclidean {
                    2.0
                } else {
                    1.0
                };
            let (by_vector, by_code) = (by_vector.sqrt(), by_code.sqrt());
            assert!(
                by_vector < 1.2 * chance,
                "{metric} {dimension}: {by_vector}"
            );
            assert!(by_code < 2.0 * chance, "{metric} {dimension}: {by_code}");
        }
    }

    #[test]
    fn a_code_is_given_in_the_place_of_a_vector() {
        for dimension in [64, 100, 384] {
            let signs = signs(Metric::Cosine, dimension);
            let (a, b) = (unit(vector(3, dimension)), unit(vector(4, dimension)));
            let (a, b) = (code(&signs, &a), code(&signs, &b));
            let carried = widened(&carried(&a, dimension));
            assert_eq!(carried.len(), dimension);
            assert_eq!(code(&signs, &carried), a);
            let between = BetweenCodes(&signs);
            let from = FromCode {
                between: BetweenCodes(&signs),
                code: a.clone(),
            };
            assert_eq!(from.eval(&b).ok(), between.eval(&a, &b).ok());
            let itself = between.eval(&a, &a).expect("it fits");
            assert!(itself.abs() < 1e-4, "{itself}");
            assert_eq!(told(), a);
            assert!(between.eval(&a, &b[1..]).is_err());
        }
    }

    #[test]
    fn the_centre_itself_has_a_code() {
        let signs = signs(Metric::Euclidean, 64);
        let centre = code(&signs, &signs.centre.clone());
        let other = unit(vector(3, 64));
        let truth: f32 = (other.iter().zip(&signs.centre))
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let found = FromVector::new(&signs, &other)
            .eval(&centre)
            .expect("it fits");
        assert!((found - truth).abs() < 1e-3, "{found} {truth}");
    }
}
