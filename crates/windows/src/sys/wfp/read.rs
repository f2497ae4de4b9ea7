//! A filter of the platform as the plan would say it.

use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::step::{Condition, Filter, FilterAction, Guid, PortRange};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_PERMIT, FWP_CONDITION_FLAG_IS_LOOPBACK,
    FWP_CONDITION_FLAG_IS_RAW_ENDPOINT, FWP_CONDITION_VALUE0, FWP_MATCH_EQUAL,
    FWP_MATCH_FLAGS_ALL_SET, FWP_MATCH_RANGE, FWP_RANGE_TYPE, FWP_RANGE0,
    FWP_SECURITY_DESCRIPTOR_TYPE, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_VALUE0,
    FWPM_CONDITION_ALE_PROMISCUOUS_MODE, FWPM_CONDITION_ALE_USER_ID, FWPM_CONDITION_FLAGS,
    FWPM_CONDITION_IP_PROTOCOL, FWPM_CONDITION_IP_REMOTE_PORT, FWPM_FILTER_CONDITION0,
    FWPM_FILTER_FLAG_DISABLED, FWPM_FILTER_FLAG_PERSISTENT, FWPM_FILTER0,
};
use windows_sys::core::GUID;

use super::{LAYERS, PROMISCUOUS, PROVIDER, TCP, layer_key, number, same};
use crate::condition::condition_of;
use crate::sys::machine::zero_ended;

pub(super) fn is_ours(filter: &FWPM_FILTER0) -> bool {
    // SAFETY: it is null, or points to a key that lives as long as the filter.
    unsafe { filter.providerKey.as_ref() }.is_some_and(|key| same(key, &PROVIDER))
}

/// Whose a filter is, and whether it is as the plan would say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Our provider's, in force, and of a form that the plan has.
    Ours(Filter),
    /// Our provider's, and disabled or of another form: it counts as missing, and goes by its key.
    Changed,
    /// Somebody else's.
    Foreign,
}

pub(super) fn see(filter: &FWPM_FILTER0) -> Seen {
    if !is_ours(filter) {
        return Seen::Foreign;
    }
    read_filter(filter).map_or(Seen::Changed, Seen::Ours)
}

/// The filter as the plan would say it; none for one that it would not, and for one that is there and does nothing.
fn read_filter(filter: &FWPM_FILTER0) -> Option<Filter> {
    let whole = filter.flags & FWPM_FILTER_FLAG_PERSISTENT != 0
        && filter.flags & FWPM_FILTER_FLAG_DISABLED == 0
        && filter.weight.r#type == FWP_UINT8;
    if !whole {
        return None;
    }
    let layer = LAYERS
        .into_iter()
        .find(|layer| same(&layer_key(*layer), &filter.layerKey))?;
    let action = match filter.action.r#type {
        FWP_ACTION_PERMIT => FilterAction::Permit,
        FWP_ACTION_BLOCK => FilterAction::Block,
        _ => return None,
    };
    let count = usize::try_from(filter.numFilterConditions).ok()?;
    let mut conditions = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: a filter has as many conditions as it says.
        let condition = unsafe { filter.filterCondition.add(index) };
        // SAFETY: as above; they live as long as the filter.
        conditions.push(read_condition(unsafe { &*condition })?);
    }
    // SAFETY: it is null, or text that ends in a zero and lives as long as the filter.
    let name = unsafe { zero_ended(filter.displayData.name) };
    Some(Filter {
        key: Guid(number(&filter.filterKey)),
        name: name.into_string().ok()?,
        sublayer: Guid(number(&filter.subLayerKey)),
        layer,
        // SAFETY: the value says that it is of this kind.
        weight: unsafe { filter.weight.Anonymous.uint8 },
        conditions,
        action,
    })
}

pub(super) fn read_condition(condition: &FWPM_FILTER_CONDITION0) -> Option<Condition> {
    let value = &condition.conditionValue;
    let is = |key: &GUID, kind, matching| {
        same(&condition.fieldKey, key) && value.r#type == kind && condition.matchType == matching
    };
    if is(&FWPM_CONDITION_FLAGS, FWP_UINT32, FWP_MATCH_FLAGS_ALL_SET) {
        // SAFETY: the value says that it is of this kind.
        return match unsafe { value.Anonymous.uint32 } {
            FWP_CONDITION_FLAG_IS_LOOPBACK => Some(Condition::Loopback),
            FWP_CONDITION_FLAG_IS_RAW_ENDPOINT => Some(Condition::RawEndpoint),
            _ => None,
        };
    }
    if is(&FWPM_CONDITION_IP_PROTOCOL, FWP_UINT8, FWP_MATCH_EQUAL) {
        // SAFETY: the value says that it is of this kind.
        return (unsafe { value.Anonymous.uint8 } == TCP).then_some(Condition::Tcp);
    }
    if is(
        &FWPM_CONDITION_IP_REMOTE_PORT,
        FWP_RANGE_TYPE,
        FWP_MATCH_RANGE,
    ) {
        let range = range_of(value)?;
        return Some(Condition::RemotePorts(PortRange {
            first: read_short(&range.valueLow)?,
            last: read_short(&range.valueHigh)?,
        }));
    }
    if is(
        &FWPM_CONDITION_ALE_PROMISCUOUS_MODE,
        FWP_RANGE_TYPE,
        FWP_MATCH_RANGE,
    ) {
        let range = range_of(value)?;
        let modes = [read_long(&range.valueLow)?, read_long(&range.valueHigh)?];
        return (modes == PROMISCUOUS).then_some(Condition::Promiscuous);
    }
    if is(
        &FWPM_CONDITION_ALE_USER_ID,
        FWP_SECURITY_DESCRIPTOR_TYPE,
        FWP_MATCH_EQUAL,
    ) {
        // SAFETY: the value says that it is of this kind.
        let blob = unsafe { value.Anonymous.sd };
        // SAFETY: it is null, or points to bytes that live as long as the filter.
        let blob = unsafe { blob.as_ref() }?;
        let length = usize::try_from(blob.size).ok()?;
        if blob.data.is_null() {
            return None;
        }
        // SAFETY: the bytes are as many as it says.
        let bytes = unsafe { std::slice::from_raw_parts(blob.data, length) };
        let condition = condition_of(&SecurityDescriptor::from_bytes(bytes).ok()?)?;
        return Some(condition);
    }
    None
}

/// The range of a condition of that kind.
fn range_of(value: &FWP_CONDITION_VALUE0) -> Option<&FWP_RANGE0> {
    // SAFETY: the callers have seen that it is of this kind.
    let range = unsafe { value.Anonymous.rangeValue };
    // SAFETY: it is null, or points to a range that lives as long as the filter.
    unsafe { range.as_ref() }
}

fn read_long(value: &FWP_VALUE0) -> Option<u32> {
    if value.r#type != FWP_UINT32 {
        return None;
    }
    // SAFETY: the value says that it is of this kind.
    Some(unsafe { value.Anonymous.uint32 })
}

fn read_short(value: &FWP_VALUE0) -> Option<u16> {
    if value.r#type != FWP_UINT16 {
        return None;
    }
    // SAFETY: the value says that it is of this kind.
    Some(unsafe { value.Anonymous.uint16 })
}
