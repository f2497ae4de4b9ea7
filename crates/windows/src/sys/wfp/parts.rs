//! The structures of a filter, and what they point to.

use std::ptr::null_mut;

use ringfence_plan::windows::step::Condition;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_FLAG_IS_RAW_ENDPOINT,
    FWP_CONDITION_VALUE0, FWP_CONDITION_VALUE0_0, FWP_MATCH_EQUAL, FWP_MATCH_FLAGS_ALL_SET,
    FWP_MATCH_RANGE, FWP_RANGE_TYPE, FWP_RANGE0, FWP_SECURITY_DESCRIPTOR_TYPE, FWP_UINT8,
    FWP_UINT16, FWP_UINT32, FWP_VALUE0, FWP_VALUE0_0, FWPM_CONDITION_ALE_PROMISCUOUS_MODE,
    FWPM_CONDITION_ALE_USER_ID, FWPM_CONDITION_FLAGS, FWPM_CONDITION_IP_PROTOCOL,
    FWPM_CONDITION_IP_REMOTE_PORT, FWPM_FILTER_CONDITION0,
};

use super::{PROMISCUOUS, TCP};
use crate::condition::user_descriptor;
use crate::sys::access::descriptor_bytes;
use crate::sys::error::{CallError, Win32Error};

const fn short(value: u16) -> FWP_VALUE0 {
    FWP_VALUE0 {
        r#type: FWP_UINT16,
        Anonymous: FWP_VALUE0_0 { uint16: value },
    }
}

const fn long(value: u32) -> FWP_VALUE0 {
    FWP_VALUE0 {
        r#type: FWP_UINT32,
        Anonymous: FWP_VALUE0_0 { uint32: value },
    }
}

/// What the structures of a filter point to; it does not move while they are used.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "a filter points to them: they must not move"
)]
pub(super) struct Parts {
    ranges: Vec<Box<FWP_RANGE0>>,
    descriptors: Vec<Vec<u8>>,
    blobs: Vec<Box<FWP_BYTE_BLOB>>,
}

impl Parts {
    pub(super) fn condition(
        &mut self,
        condition: &Condition,
    ) -> Result<FWPM_FILTER_CONDITION0, CallError> {
        let value = |kind, value| FWP_CONDITION_VALUE0 {
            r#type: kind,
            Anonymous: value,
        };
        let flag = |flag| FWPM_FILTER_CONDITION0 {
            fieldKey: FWPM_CONDITION_FLAGS,
            matchType: FWP_MATCH_FLAGS_ALL_SET,
            conditionValue: value(FWP_UINT32, FWP_CONDITION_VALUE0_0 { uint32: flag }),
        };
        Ok(match condition {
            Condition::User(_)
            | Condition::UserOr(..)
            | Condition::NotUser(_)
            | Condition::NotUserNorAnonymous(_) => FWPM_FILTER_CONDITION0 {
                fieldKey: FWPM_CONDITION_ALE_USER_ID,
                matchType: FWP_MATCH_EQUAL,
                conditionValue: value(
                    FWP_SECURITY_DESCRIPTOR_TYPE,
                    FWP_CONDITION_VALUE0_0 {
                        sd: self.descriptor(condition)?,
                    },
                ),
            },
            Condition::Loopback => flag(FWP_CONDITION_FLAG_IS_LOOPBACK),
            Condition::RawEndpoint => flag(FWP_CONDITION_FLAG_IS_RAW_ENDPOINT),
            Condition::Tcp => FWPM_FILTER_CONDITION0 {
                fieldKey: FWPM_CONDITION_IP_PROTOCOL,
                matchType: FWP_MATCH_EQUAL,
                conditionValue: value(FWP_UINT8, FWP_CONDITION_VALUE0_0 { uint8: TCP }),
            },
            Condition::RemotePorts(ports) => FWPM_FILTER_CONDITION0 {
                fieldKey: FWPM_CONDITION_IP_REMOTE_PORT,
                matchType: FWP_MATCH_RANGE,
                conditionValue: self.range(short(ports.first), short(ports.last)),
            },
            Condition::Promiscuous => {
                let [first, last] = PROMISCUOUS;
                FWPM_FILTER_CONDITION0 {
                    fieldKey: FWPM_CONDITION_ALE_PROMISCUOUS_MODE,
                    matchType: FWP_MATCH_RANGE,
                    conditionValue: self.range(long(first), long(last)),
                }
            }
        })
    }

    /// Both ends included.
    fn range(&mut self, low: FWP_VALUE0, high: FWP_VALUE0) -> FWP_CONDITION_VALUE0 {
        self.ranges.push(Box::new(FWP_RANGE0 {
            valueLow: low,
            valueHigh: high,
        }));
        let range = self.ranges.last_mut();
        let range = range.map_or(null_mut(), |range| &raw mut **range);
        FWP_CONDITION_VALUE0 {
            r#type: FWP_RANGE_TYPE,
            Anonymous: FWP_CONDITION_VALUE0_0 { rangeValue: range },
        }
    }

    fn descriptor(&mut self, condition: &Condition) -> Result<*mut FWP_BYTE_BLOB, CallError> {
        const CALL: &str = "FwpmFilterAdd0";
        // A trustee that is still to be made is never written.
        let unmade = || CallError::new(CALL, "a user that is not there", Win32Error(1332));
        let descriptor = user_descriptor(condition).ok_or_else(unmade)?;
        let mut bytes = descriptor_bytes(&descriptor, CALL)?;
        let blob = FWP_BYTE_BLOB {
            size: u32::try_from(bytes.len()).unwrap_or(0),
            data: bytes.as_mut_ptr(),
        };
        // The bytes stay where they are when the vector that holds them moves.
        self.descriptors.push(bytes);
        self.blobs.push(Box::new(blob));
        Ok(self
            .blobs
            .last_mut()
            .map_or(null_mut(), |blob| &raw mut **blob))
    }
}
