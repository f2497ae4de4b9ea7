//! Which rights the second pass of a write-restricted token covers.
//!
//! `CreateRestrictedToken` says that with `WRITE_RESTRICTED` the restricting SIDs are considered only for write access;
//! no document says which bits that means. So it is a parameter: the runner measures it with an access check on its
//! own token before the first command, and the model answers for each possibility.

use serde::{Deserialize, Serialize};

use crate::mask::{AccessMask, GenericMapping};

/// A hypothesis on the rights that count as write access for files. `[unsettled]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteClass {
    /// `GENERIC_WRITE` less `READ_CONTROL` and SYNCHRONIZE: `0x000116` for files. Boundary promises fail under it, and
    /// launch refuses.
    H1,
    /// Everything outside generic read and execute: `0x0d0156` for files.
    H2,
    /// As [`WriteClass::H2`], and the whole request as soon as one bit of it is asked for: to read and write, the
    /// restricting SIDs must give both. The trigger is any bit of [`WriteClass::H2`]'s class, also DELETE alone; a
    /// request without one asks the first pass alone. The strictest reading, and nobody's documented one.
    H3,
    /// [`WriteClass::H1`] with DELETE, `WRITE_DAC` and `WRITE_OWNER`: `0x0d0116` for files.
    H4,
}

impl WriteClass {
    /// All hypotheses.
    pub const ALL: [Self; 4] = [Self::H1, Self::H2, Self::H3, Self::H4];

    /// The rights of an object with this mapping that count as write access.
    #[must_use]
    pub fn rights(self, mapping: &GenericMapping) -> AccessMask {
        let narrow = mapping.write - AccessMask::READ_CONTROL - AccessMask::SYNCHRONIZE;
        match self {
            Self::H1 => narrow,
            Self::H2 | Self::H3 => mapping.all - mapping.read - mapping.execute,
            Self::H4 => {
                narrow | AccessMask::DELETE | AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER
            }
        }
    }

    /// The part of a mapped request that the second pass of a write-restricted token decides on.
    #[must_use]
    pub fn second_pass(self, desired: AccessMask, mapping: &GenericMapping) -> AccessMask {
        let covered = desired & self.rights(mapping);
        match self {
            Self::H3 if !covered.is_empty() => desired,
            Self::H1 | Self::H2 | Self::H3 | Self::H4 => covered,
        }
    }

    /// Whether DELETE, `WRITE_DAC` and `WRITE_OWNER` are covered: without them there is no boundary.
    #[must_use]
    pub fn holds_a_boundary(self) -> bool {
        let needed = AccessMask::DELETE | AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER;
        self.rights(&GenericMapping::FILE).contains(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_for_files_are_the_known_masks() {
        let rights = WriteClass::ALL.map(|class| class.rights(&GenericMapping::FILE).0);
        assert_eq!(rights, [0x116, 0xd_0156, 0xd_0156, 0xd_0116]);
    }

    #[test]
    fn only_the_first_hypothesis_holds_no_boundary() {
        let holds = WriteClass::ALL.map(WriteClass::holds_a_boundary);
        assert_eq!(holds, [false, true, true, true]);
    }

    #[test]
    fn one_write_bit_takes_the_whole_request_along_under_h3() {
        let desired = AccessMask::FILE_READ_DATA | AccessMask::FILE_WRITE_DATA;
        let file = &GenericMapping::FILE;
        assert_eq!(WriteClass::H3.second_pass(desired, file), desired);
        assert_eq!(
            WriteClass::H2.second_pass(desired, file),
            AccessMask::FILE_WRITE_DATA
        );
        assert_eq!(
            WriteClass::H3.second_pass(AccessMask::FILE_READ_DATA, file),
            AccessMask::NONE
        );
    }
}
