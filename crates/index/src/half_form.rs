//! Vectors at half precision: what the graph keeps of them.
//!
//! Half precision has few exponents: values above 65,504 are infinite and those below a ten-millionth are zero. So
//! vectors are brought to a typical length first, all by the same power of two, which changes no order. What does
//! not fit even then has no half form, and is scanned.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

/// How vectors of one name are brought to half precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HalfForm {
    scale: f32,
}

impl HalfForm {
    /// For vectors of length 1, which stay that: distances between them are computed as if they were.
    pub(crate) const UNIT: Self = Self { scale: 1.0 };

    /// Fit for vectors like these.
    pub(crate) fn of<'a>(sample: impl Iterator<Item = &'a [f32]>) -> Self {
        let (mut sum, mut count) = (0.0_f64, 0.0_f64);
        for value in sample.flatten().filter(|value| **value != 0.0) {
            // Of logarithms, so that one huge value does not push all others down to zero.
            sum += f64::from(value.abs()).log2();
            count += 1.0;
        }
        let typical = if count > 0.0 { sum / count } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a power of two within the exponents of f32"
        )]
        let scale = (-typical.round()).clamp(-100.0, 100.0).exp2() as f32;
        Self { scale }
    }

    /// The one with this scale, if that is one.
    pub(crate) fn of_scale(scale: f32) -> Option<Self> {
        (scale.is_normal() && scale > 0.0).then_some(Self { scale })
    }

    /// What vectors are multiplied by.
    pub(crate) fn scale(self) -> f32 {
        self.scale
    }

    /// A vector's half form, if it has one.
    pub(crate) fn convert(self, vector: &[f32]) -> Option<Arc<[f16]>> {
        self.pack(vector).map(Arc::from)
    }

    /// The same, for one owner.
    pub(crate) fn pack(self, vector: &[f32]) -> Option<Box<[f16]>> {
        let mut half = vec![f16::ZERO; vector.len()].into_boxed_slice();
        if self == Self::UNIT {
            half.convert_from_f32_slice(vector);
        } else {
            let scaled: Vec<f32> = vector.iter().map(|value| value * self.scale).collect();
            half.convert_from_f32_slice(&scaled);
        }
        (half.iter().all(|value| value.is_finite())).then_some(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_and_huge_vectors_keep_their_shape() {
        for size in [1e-30_f32, 1e-9, 1.0, 1e9, 1e30] {
            let vector = [size, -2.0 * size, 0.5 * size, 0.0];
            let form = HalfForm::of(std::iter::once(&vector[..]));
            let half = form.convert(&vector).expect("it fits");
            let unit = half[0].to_f32();
            assert!(unit > 1e-3, "{size}: {unit}");
            let shape = half.iter().map(|v| v.to_f32() / unit).collect::<Vec<_>>();
            assert_eq!(shape, [1.0, -2.0, 0.5, 0.0], "{size}");
        }
    }

    #[test]
    fn what_does_not_fit_has_no_half_form() {
        let form = HalfForm::of(std::iter::once(&[1.0_f32, 1.0][..]));
        assert!(form.convert(&[1.0, 1e6]).is_none());
        assert!(form.convert(&[1.0, 1e3]).is_some());
    }
}
