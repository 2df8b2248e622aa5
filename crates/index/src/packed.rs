//! Rows of vectors in fewer bytes than they were given in, each with a bound of what that loses.
//!
//! A row is packed once and unpacked to f32 whenever it is scored; the kernels know nothing of it. The bound makes
//! up for it: whoever scores the unpacked row knows how far the score of the vector itself can be from that, and
//! asks for the vector itself where it matters. A bound of zero says that nothing was lost.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::half_form::HalfForm;

/// How rows are packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// At half precision: two bytes a value.
    Half(HalfForm),
    /// As multiples of a hundred and twenty-seventh of the largest value: one byte a value.
    Int8,
    /// Not at all: the bound is the vector's length.
    Nothing,
}

/// The largest value of a row, in bytes of `Form::Int8`.
const INT8_MAX: f32 = 127.0;

/// Products and sums of a kernel are rounded, at most so many times one after the other, for a vector of a length:
/// a kernel adds up 16 sums at least and then those, with the values that are left over.
fn roundings(dimension: usize) -> f64 {
    (dimension / 16) as f64 + 48.0
}

/// How far a kernel's sum can be off, relative to the sum of the sizes of its terms. Twice the textbook's bound, so
/// that what the bound itself rounds is in it, too.
pub(crate) fn rounding(dimension: usize) -> f64 {
    roundings(dimension) * f64::from(f32::EPSILON)
}

/// One packed row.
#[derive(Clone, Debug)]
pub(crate) struct PackedRow {
    values: RowValues,
    /// No less than the distance between the vector and what is kept of it, plus what the kernels round for it, relative
    /// to the length of a query; zero if nothing is lost.
    pub(crate) bound: f32,
}

#[derive(Clone, Debug)]
enum RowValues {
    Half(Box<[f16]>),
    Int8(Box<[i8]>, f32),
    Nothing,
}

impl Form {
    /// A vector packed, unless it does not fit. `lost` is what it has lost already.
    pub(crate) fn pack(self, vector: &[f32], lost: f32) -> Option<PackedRow> {
        let values = match self {
            Self::Half(form) => RowValues::Half(form.pack(vector)?),
            Self::Int8 => pack_int8(vector)?,
            Self::Nothing => RowValues::Nothing,
        };
        let mut kept = vec![0.0; vector.len()];
        values.unpack(self, &mut kept);
        let bound = bound(vector, &kept, lost)?;
        Some(PackedRow { values, bound })
    }
}

fn pack_int8(vector: &[f32]) -> Option<RowValues> {
    let largest = vector.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let step = largest / INT8_MAX;
    // Of what is smaller than that the steps themselves would be rounded.
    if largest > 0.0 && !step.is_normal() {
        return None;
    }
    let steps = |value: &f32| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "cut off at what an i8 holds"
        )]
        let steps = (value / step).round_ties_even().clamp(-INT8_MAX, INT8_MAX) as i8;
        if largest > 0.0 { steps } else { 0 }
    };
    Some(RowValues::Int8(vector.iter().map(steps).collect(), step))
}

/// What a score by `kept` can be off, relative to the length of the query: the distance between the vectors (by
/// Cauchy and Schwarz), and what the kernels round, which goes with the lengths of both. Where nothing is lost it is
/// zero, since equal vectors score equal.
fn bound(vector: &[f32], kept: &[f32], lost: f32) -> Option<f32> {
    let (mut error, mut size, mut kept_size) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (v, k) in vector.iter().zip(kept) {
        let (v, k) = (f64::from(*v), f64::from(*k));
        error += (v - k) * (v - k);
        size += v * v;
        kept_size += k * k;
    }
    if error == 0.0 && lost == 0.0 {
        return Some(0.0);
    }
    // A vector that has lost something is longer than this by no more than that.
    let lengths = size.sqrt() + f64::from(lost) + kept_size.sqrt();
    let bound = error.sqrt() + f64::from(lost) + rounding(vector.len()) * lengths;
    round_up(bound)
}

/// The next f32 that is not smaller, with room for what sums in f64 round; `None` beyond the finite ones.
pub(crate) fn round_up(value: f64) -> Option<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded up by the steps that follow"
    )]
    let rounded = (value * (1.0 + 1e-9)) as f32;
    Some(rounded.next_up()).filter(|value| value.is_finite())
}

impl RowValues {
    fn unpack(&self, form: Form, into: &mut [f32]) {
        match self {
            Self::Half(values) => unpack_half(values, form, into),
            Self::Int8(values, step) => unpack_int8(values, &[*step], into),
            Self::Nothing => into.fill(0.0),
        }
    }
}

fn unpack_half(values: &[f16], form: Form, into: &mut [f32]) {
    values.convert_to_f32_slice(into);
    if let Form::Half(form) = form
        && form.scale() != 1.0
    {
        let back = form.scale().recip();
        into.iter_mut().for_each(|value| *value *= back);
    }
}

fn unpack_int8(values: &[i8], steps: &[f32], into: &mut [f32]) {
    let dimension = values.len() / steps.len().max(1);
    let rows = values
        .chunks_exact(dimension)
        .zip(into.chunks_exact_mut(dimension));
    for ((row, into), step) in rows.zip(steps) {
        for (value, steps) in into.iter_mut().zip(row) {
            *value = f32::from(*steps) * step;
        }
    }
}

/// Consecutive packed rows.
#[derive(Debug)]
pub(crate) struct PackedRows {
    form: Form,
    dimension: usize,
    values: Values,
    bounds: Vec<f32>,
}

#[derive(Debug)]
enum Values {
    Half(Vec<f16>),
    /// With the length of a step of each row.
    Int8(Vec<i8>, Vec<f32>),
    Nothing,
}

impl PackedRows {
    /// Rows of zeros.
    pub(crate) fn zeros(form: Form, dimension: usize, rows: usize) -> Self {
        let mut zeros = Self {
            form,
            dimension,
            values: match form {
                Form::Half(_) => Values::Half(Vec::new()),
                Form::Int8 => Values::Int8(Vec::new(), Vec::new()),
                Form::Nothing => Values::Nothing,
            },
            bounds: Vec::new(),
        };
        zeros.grow(rows);
        zeros
    }

    /// Room for so many rows.
    pub(crate) fn grow(&mut self, rows: usize) {
        if self.rows() >= rows {
            return;
        }
        let len = rows * self.dimension;
        match &mut self.values {
            Values::Half(values) => grow(values, len, f16::ZERO),
            Values::Int8(values, steps) => {
                grow(values, len, 0);
                grow(steps, rows, 0.0);
            }
            Values::Nothing => {}
        }
        grow(&mut self.bounds, rows, 0.0);
    }

    /// Rows there is room for.
    pub(crate) fn rows(&self) -> usize {
        self.bounds.len()
    }

    /// What each row can be off.
    pub(crate) fn bounds(&self) -> &[f32] {
        &self.bounds
    }

    /// One row as it is kept.
    pub(crate) fn get(&self, row: usize) -> PackedRow {
        let (from, len) = (row * self.dimension, self.dimension);
        let values = match &self.values {
            Values::Half(values) => RowValues::Half(values[from..][..len].into()),
            Values::Int8(values, steps) => {
                RowValues::Int8(values[from..][..len].into(), steps[row])
            }
            Values::Nothing => RowValues::Nothing,
        };
        let bound = self.bounds[row];
        PackedRow { values, bound }
    }

    /// Whether a row is kept like this one, whatever the two have lost.
    pub(crate) fn is_like(&self, row: usize, other: &PackedRow) -> bool {
        match (self.get(row).values, &other.values) {
            (RowValues::Half(a), RowValues::Half(b)) => a == *b,
            (RowValues::Int8(a, step), RowValues::Int8(b, other)) => a == *b && step == *other,
            (RowValues::Half(_) | RowValues::Int8(..) | RowValues::Nothing, _) => false,
        }
    }

    /// Writes a row, one of the same form.
    pub(crate) fn put(&mut self, row: usize, packed: &PackedRow) {
        let (from, len) = (row * self.dimension, self.dimension);
        self.bounds[row] = packed.bound;
        match (&mut self.values, &packed.values) {
            (Values::Half(values), RowValues::Half(new)) => {
                values[from..][..len].copy_from_slice(new);
            }
            (Values::Int8(values, steps), RowValues::Int8(new, step)) => {
                values[from..][..len].copy_from_slice(new);
                steps[row] = *step;
            }
            (Values::Nothing, RowValues::Nothing) => {}
            (Values::Half(_) | Values::Int8(..) | Values::Nothing, _) => {
                debug_assert!(false, "all rows of a slab are packed alike");
            }
        }
    }

    /// Writes zeros for a row that is kept elsewhere, and has lost so much.
    pub(crate) fn put_zeros(&mut self, row: usize, bound: f32) {
        let (from, len) = (row * self.dimension, self.dimension);
        self.bounds[row] = bound;
        match &mut self.values {
            Values::Half(values) => values[from..][..len].fill(f16::ZERO),
            Values::Int8(values, _) => values[from..][..len].fill(0),
            Values::Nothing => {}
        }
    }

    /// Whether nothing is kept of a row that is not zero: only storage has it.
    pub(crate) fn is_void(&self, row: usize) -> bool {
        let nothing = match &self.values {
            Values::Half(values) => {
                let values = &values[row * self.dimension..][..self.dimension];
                values.iter().all(|value| *value == f16::ZERO)
            }
            Values::Int8(_, steps) => steps[row] == 0.0,
            Values::Nothing => true,
        };
        nothing && self.bounds[row] > 0.0
    }

    /// The values of consecutive rows, as many as there is room for.
    pub(crate) fn unpack(&self, row: usize, into: &mut [f32]) {
        let (from, len) = (row * self.dimension, into.len());
        match &self.values {
            Values::Half(values) => unpack_half(&values[from..][..len], self.form, into),
            Values::Int8(values, steps) => {
                let steps = &steps[row..][..len / self.dimension];
                unpack_int8(&values[from..][..len], steps, into);
            }
            Values::Nothing => into.fill(0.0),
        }
    }

    /// Bytes allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Half(values) => size_of_val(&**values),
            Values::Int8(values, steps) => size_of_val(&**values) + size_of_val(&**steps),
            Values::Nothing => 0,
        };
        values + size_of_val(&*self.bounds)
    }
}

/// To this length and no more: a vector would take twice what it has.
fn grow<T: Copy>(values: &mut Vec<T>, len: usize, with: T) {
    values.reserve_exact(len - values.len());
    values.resize(len, with);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(vector: &[f32]) -> [Form; 2] {
        [
            Form::Half(HalfForm::of(std::iter::once(vector))),
            Form::Int8,
        ]
    }

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        let pairs = a.iter().zip(b);
        let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn bounds_hold_and_are_small() {
        for scale in [1e-30_f32, 1e-3, 1.0, 1e20] {
            let vector: Vec<f32> = (0..100_u8)
                .map(|n| (f32::from(n) * 0.37).sin() * scale)
                .collect();
            let length = distance(&vector, &[0.0; 100]);
            for form in forms(&vector) {
                let packed = form.pack(&vector, 0.0).expect("it fits");
                let mut rows = PackedRows::zeros(form, 100, 3);
                rows.put(1, &packed);
                let mut kept = vec![f32::NAN; 200];
                rows.unpack(1, &mut kept);
                let error = distance(&vector, &kept[..100]);
                let bound = f64::from(rows.bounds()[1]);
                assert!(0.0 < error && error <= bound, "{error} {bound} {form:?}");
                assert!(bound < length / 100.0, "{bound} of {length}, {form:?}");
                assert!(kept[100..].iter().all(|value| *value == 0.0));
                assert!(rows.is_like(1, &packed) && !rows.is_like(0, &packed));
            }
        }
    }

    #[test]
    fn what_loses_nothing_says_so() {
        for vector in [[1.0_f32, -0.5, 0.25], [0.0; 3]] {
            let form = Form::Half(HalfForm::UNIT);
            assert_eq!(form.pack(&vector, 0.0).expect("it fits").bound, 0.0);
        }
        let zeros = Form::Int8.pack(&[0.0; 3], 0.0).expect("it fits");
        assert_eq!(zeros.bound, 0.0);
        let lost = Form::Int8.pack(&[0.0; 3], 0.5).expect("it fits");
        assert!(lost.bound >= 0.5);
        let zeros = Form::Nothing.pack(&[0.0; 3], 0.0).expect("it fits");
        assert_eq!(zeros.bound, 0.0);
    }

    #[test]
    fn of_nothing_the_length_is_known_and_that_it_is_void() {
        let packed = Form::Nothing.pack(&[3.0, 4.0], 0.0).expect("it fits");
        assert!((5.0..5.001).contains(&packed.bound), "{}", packed.bound);
        let mut rows = PackedRows::zeros(Form::Nothing, 2, 2);
        rows.put(1, &packed);
        assert!(rows.is_void(1) && !rows.is_void(0));
        assert!(!rows.is_like(1, &packed), "what is not kept may differ");
        let mut again = PackedRows::zeros(Form::Int8, 2, 2);
        again.put(
            1,
            &Form::Int8.pack(&[0.0; 2], packed.bound).expect("it fits"),
        );
        assert!(again.is_void(1));
        again.put(1, &Form::Int8.pack(&[3.0, 4.0], 0.0).expect("it fits"));
        assert!(!again.is_void(1));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let form = Form::Half(HalfForm::UNIT);
        assert!(form.pack(&[1.0, 1e6], 0.0).is_none());
        assert!(Form::Int8.pack(&[1e-44, 1e-45], 0.0).is_none());
        assert!(Form::Int8.pack(&[f32::MAX / 2.0, -1.0], 0.0).is_some());
        // What is unpacked of it would be infinite.
        assert!(Form::Int8.pack(&[f32::MAX, 1.0], 0.0).is_none());
    }
}
