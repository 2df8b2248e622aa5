//! Sparse vectors.

use pando_model::SparseVector;

use crate::error::DecodeError;
use crate::v1::{self, vector::Data};

impl From<SparseVector> for v1::Vector {
    fn from(vector: SparseVector) -> Self {
        let (indices, values) = vector.into_parts();
        Self {
            data: Some(Data::Sparse(v1::SparseVector { indices, values })),
        }
    }
}

impl TryFrom<v1::SparseVector> for SparseVector {
    type Error = DecodeError;

    fn try_from(wire: v1::SparseVector) -> Result<Self, Self::Error> {
        let refused = DecodeError::refused("sparse");
        Self::new(wire.indices, wire.values).map_err(|error| refused(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use pando_model::InvalidInput;

    use super::*;
    use crate::detail::to_status;
    use crate::v1::{ErrorDetail, ErrorKind};

    #[test]
    fn what_is_no_sparse_vector_is_refused_with_the_limit() {
        let wire = |count: u32| v1::SparseVector {
            indices: (0..count).collect(),
            values: vec![1.0; count as usize],
        };
        assert!(SparseVector::try_from(wire(16_384)).is_ok());
        let error = SparseVector::try_from(wire(16_385)).expect_err("too many");
        assert_eq!(error.field(), "sparse");
        let detail = ErrorDetail::from(&InvalidInput::from(error));
        assert_eq!(detail.kind(), ErrorKind::InvalidInput);
        assert_eq!((detail.limit, detail.actual), (Some(16_384), Some(16_385)));
        assert_eq!(to_status(&detail).code(), tonic::Code::InvalidArgument);
        let short = v1::SparseVector {
            values: vec![1.0],
            ..wire(2)
        };
        assert!(SparseVector::try_from(short).is_err());
    }
}
