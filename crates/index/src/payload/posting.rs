//! The slots of one value.

use roaring::RoaringBitmap;

/// What a value of more than one slot takes on top, about: the bitmap, its first container, and their allocations.
const BITMAP_BYTES: usize = 160;
/// What a slot in a bitmap takes, at most.
const SLOT_BYTES: usize = 2;

/// The slots of one value, at least one. Most values of most fields are one point's, and get no bitmap.
#[derive(Debug)]
pub(super) enum Posting {
    One(u32),
    Many(Box<RoaringBitmap>),
}

/// What became of a posting that lost a slot.
pub(super) struct Removed {
    /// Bytes that were given back, estimated.
    pub(super) bytes: usize,
    /// Whether nothing is left.
    pub(super) is_empty: bool,
}

impl Posting {
    /// Adds a slot; says how many bytes that took, estimated.
    pub(super) fn insert(&mut self, slot: u32) -> usize {
        match self {
            Self::One(one) if *one == slot => 0,
            Self::One(one) => {
                *self = Self::Many(Box::new([*one, slot].into_iter().collect()));
                BITMAP_BYTES
            }
            Self::Many(many) => usize::from(many.insert(slot)) * SLOT_BYTES,
        }
    }

    /// Takes a slot away, if it is there.
    pub(super) fn remove(&mut self, slot: u32) -> Removed {
        match self {
            Self::One(one) => Removed {
                bytes: 0,
                is_empty: *one == slot,
            },
            Self::Many(many) => {
                let mut bytes = usize::from(many.remove(slot)) * SLOT_BYTES;
                if let (1, Some(one)) = (many.len(), many.min()) {
                    *self = Self::One(one);
                    bytes = BITMAP_BYTES;
                }
                Removed {
                    bytes,
                    is_empty: false,
                }
            }
        }
    }

    /// Adds its slots to others.
    pub(super) fn add_to(&self, slots: &mut RoaringBitmap) {
        match self {
            Self::One(one) => {
                slots.insert(*one);
            }
            Self::Many(many) => *slots |= many.as_ref(),
        }
    }

    /// Its slots.
    pub(super) fn slots(&self) -> RoaringBitmap {
        match self {
            Self::One(one) => RoaringBitmap::from_iter([*one]),
            Self::Many(many) => many.as_ref().clone(),
        }
    }
}
