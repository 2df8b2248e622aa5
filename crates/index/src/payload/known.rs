//! What is known of a set of slots, and how such knowledge combines.

use roaring::RoaringBitmap;

/// A set of slots as far as it is known: those that are surely in it, and those that may be. All others are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) sure: RoaringBitmap,
    /// None of them sure.
    pub(crate) doubt: RoaringBitmap,
}

impl Known {
    /// Nothing is in doubt.
    pub(crate) fn exactly(sure: RoaringBitmap) -> Self {
        Self {
            sure,
            doubt: RoaringBitmap::new(),
        }
    }

    /// Any of these may be in it.
    pub(crate) fn perhaps(doubt: RoaringBitmap) -> Self {
        Self {
            sure: RoaringBitmap::new(),
            doubt,
        }
    }

    /// Whether it is known for every slot.
    pub(crate) fn is_exact(&self) -> bool {
        self.doubt.is_empty()
    }

    /// All that may be in it.
    pub(crate) fn candidates(&self) -> RoaringBitmap {
        &self.sure | &self.doubt
    }

    /// What is in both.
    pub(crate) fn and(self, other: &Self) -> Self {
        if self.is_exact() && other.is_exact() {
            return Self::exactly(self.sure & &other.sure);
        }
        let candidates = self.candidates() & other.candidates();
        let sure = self.sure & &other.sure;
        let doubt = candidates - &sure;
        Self { sure, doubt }
    }

    /// What is in either.
    pub(crate) fn or(self, other: &Self) -> Self {
        let sure = self.sure | &other.sure;
        let doubt = (self.doubt | &other.doubt) - &sure;
        Self { sure, doubt }
    }

    /// What is in this one, and not in the other.
    pub(crate) fn without(self, other: &Self) -> Self {
        if self.is_exact() && other.is_exact() {
            return Self::exactly(self.sure - &other.sure);
        }
        let candidates = self.candidates() - &other.sure;
        let sure = (self.sure - &other.sure) - &other.doubt;
        let doubt = candidates - &sure;
        Self { sure, doubt }
    }
}
