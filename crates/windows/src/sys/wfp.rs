//! Filters of the Windows Filtering Platform.
//!
//! Source: learn.microsoft.com "Windows Filtering Platform", `FwpmFilterAdd0`, `FwpmFilterGetByKey0`. Provider and
//! sublayer are ours, with fixed keys; filters are persistent. Invariant: a transaction that is not committed is
//! aborted, and what is read back is compared whole: a filter that is not ours in every part is none of ours.

use std::ffi::c_void;
use std::ptr::{from_ref, null, null_mut};

use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::step::{Condition, Filter, FilterAction, Guid, Layer, PortRange};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_PERMIT, FWP_BYTE_BLOB, FWP_CONDITION_FLAG_IS_LOOPBACK,
    FWP_CONDITION_FLAG_IS_RAW_ENDPOINT, FWP_CONDITION_VALUE0, FWP_CONDITION_VALUE0_0,
    FWP_MATCH_EQUAL, FWP_MATCH_FLAGS_ALL_SET, FWP_MATCH_RANGE, FWP_RANGE_TYPE, FWP_RANGE0,
    FWP_SECURITY_DESCRIPTOR_TYPE, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_VALUE0, FWP_VALUE0_0,
    FWPM_ACTION0, FWPM_CONDITION_ALE_USER_ID, FWPM_CONDITION_FLAGS, FWPM_CONDITION_IP_PROTOCOL,
    FWPM_CONDITION_IP_REMOTE_PORT, FWPM_DISPLAY_DATA0, FWPM_FILTER_CONDITION0,
    FWPM_FILTER_FLAG_PERSISTENT, FWPM_FILTER0, FWPM_LAYER_ALE_AUTH_CONNECT_V4,
    FWPM_LAYER_ALE_AUTH_CONNECT_V6, FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4,
    FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6, FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V4,
    FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V6, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0,
    FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0, FwpmEngineClose0, FwpmEngineOpen0,
    FwpmFilterAdd0, FwpmFilterCreateEnumHandle0, FwpmFilterDeleteByKey0,
    FwpmFilterDestroyEnumHandle0, FwpmFilterEnum0, FwpmFilterGetByKey0, FwpmFreeMemory0,
    FwpmProviderAdd0, FwpmProviderDeleteByKey0, FwpmSubLayerAdd0, FwpmSubLayerDeleteByKey0,
    FwpmTransactionAbort0, FwpmTransactionBegin0, FwpmTransactionCommit0,
};
use windows_sys::Win32::System::Rpc::RPC_C_AUTHN_WINNT;
use windows_sys::core::GUID;

use super::access::descriptor_bytes;
use super::error::{CallError, Win32Error};
use super::machine::zero_ended;
use super::wide::WideText;
use crate::condition::{condition_of, user_descriptor};

/// Our provider, by which all of our filters are found.
const PROVIDER: GUID = GUID::from_u128(0x52e6_9a01_8c3f_4b7d_9a51_7269_6e67_0001);
/// Our sublayer. It weighs nearly as much as one can: what it blocks, no lighter sublayer of others permits.
const SUBLAYER: GUID = GUID::from_u128(0x52e6_9a01_8c3f_4b7d_9a51_7269_6e67_0002);
const SUBLAYER_WEIGHT: u16 = 0xfff0;

/// `FWP_E_FILTER_NOT_FOUND`
const FILTER_NOT_FOUND: u32 = 0x8032_0003;
/// `FWP_E_PROVIDER_NOT_FOUND`
const PROVIDER_NOT_FOUND: u32 = 0x8032_0005;
/// `FWP_E_SUBLAYER_NOT_FOUND`
const SUBLAYER_NOT_FOUND: u32 = 0x8032_0007;
/// `FWP_E_ALREADY_EXISTS`
const EXISTS: u32 = 0x8032_0009;
/// `FWP_E_IN_USE`
const IN_USE: u32 = 0x8032_000a;

/// `IPPROTO_TCP`
const TCP: u8 = 6;

/// The platform's engine, open.
#[derive(Debug)]
pub struct Engine(HANDLE);

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: FwpmEngineOpen0 gave it, and nobody else closes it.
        unsafe { FwpmEngineClose0(self.0) };
    }
}

fn answer(code: u32, call: &'static str, object: &dyn std::fmt::Display) -> Result<(), CallError> {
    if code == 0 {
        return Ok(());
    }
    Err(CallError::new(call, object, Win32Error(code)))
}

/// A change that is one: aborted unless committed.
struct Transaction<'a>(Option<&'a Engine>);

impl<'a> Transaction<'a> {
    fn begin(engine: &'a Engine) -> Result<Self, CallError> {
        // SAFETY: the engine is open.
        let code = unsafe { FwpmTransactionBegin0(engine.0, 0) };
        answer(code, "FwpmTransactionBegin0", &"")?;
        Ok(Self(Some(engine)))
    }

    fn commit(mut self) -> Result<(), CallError> {
        let Some(engine) = self.0.take() else {
            return Ok(());
        };
        // SAFETY: the engine is open and the transaction is its own.
        let code = unsafe { FwpmTransactionCommit0(engine.0) };
        let done = answer(code, "FwpmTransactionCommit0", &"");
        if done.is_err() {
            self.0 = Some(engine);
        }
        done
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(engine) = self.0 {
            // SAFETY: as in `commit`.
            unsafe { FwpmTransactionAbort0(engine.0) };
        }
    }
}

/// Memory of the platform, given back when dropped.
struct Memory(*mut c_void);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the platform allocated it, and nobody else frees it.
        unsafe { FwpmFreeMemory0(&raw mut self.0) };
    }
}

const fn layer_key(layer: Layer) -> GUID {
    match layer {
        Layer::ConnectV4 => FWPM_LAYER_ALE_AUTH_CONNECT_V4,
        Layer::ConnectV6 => FWPM_LAYER_ALE_AUTH_CONNECT_V6,
        Layer::AcceptV4 => FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4,
        Layer::AcceptV6 => FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6,
        Layer::AssignmentV4 => FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V4,
        Layer::AssignmentV6 => FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V6,
    }
}

const LAYERS: [Layer; 6] = [
    Layer::ConnectV4,
    Layer::ConnectV6,
    Layer::AcceptV4,
    Layer::AcceptV6,
    Layer::AssignmentV4,
    Layer::AssignmentV6,
];

fn number(id: &GUID) -> u128 {
    (u128::from(id.data1) << 96)
        | (u128::from(id.data2) << 80)
        | (u128::from(id.data3) << 64)
        | u128::from(u64::from_be_bytes(id.data4))
}

const fn same(one: &GUID, other: &GUID) -> bool {
    let (a, b) = (one.data4, other.data4);
    one.data1 == other.data1
        && one.data2 == other.data2
        && one.data3 == other.data3
        && u64::from_be_bytes(a) == u64::from_be_bytes(b)
}

const fn short(value: u16) -> FWP_VALUE0 {
    FWP_VALUE0 {
        r#type: FWP_UINT16,
        Anonymous: FWP_VALUE0_0 { uint16: value },
    }
}

/// What the structures of a filter point to; it does not move while they are used.
#[derive(Default)]
struct Parts {
    ranges: Vec<Box<FWP_RANGE0>>,
    descriptors: Vec<Vec<u8>>,
    blobs: Vec<Box<FWP_BYTE_BLOB>>,
}

impl Parts {
    fn condition(&mut self, condition: &Condition) -> Result<FWPM_FILTER_CONDITION0, CallError> {
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
            Condition::User(_) | Condition::UserOr(..) | Condition::NotUser(_) => {
                FWPM_FILTER_CONDITION0 {
                    fieldKey: FWPM_CONDITION_ALE_USER_ID,
                    matchType: FWP_MATCH_EQUAL,
                    conditionValue: value(
                        FWP_SECURITY_DESCRIPTOR_TYPE,
                        FWP_CONDITION_VALUE0_0 {
                            sd: self.descriptor(condition)?,
                        },
                    ),
                }
            }
            Condition::Loopback => flag(FWP_CONDITION_FLAG_IS_LOOPBACK),
            Condition::RawEndpoint => flag(FWP_CONDITION_FLAG_IS_RAW_ENDPOINT),
            Condition::Tcp => FWPM_FILTER_CONDITION0 {
                fieldKey: FWPM_CONDITION_IP_PROTOCOL,
                matchType: FWP_MATCH_EQUAL,
                conditionValue: value(FWP_UINT8, FWP_CONDITION_VALUE0_0 { uint8: TCP }),
            },
            Condition::RemotePorts(ports) => {
                self.ranges.push(Box::new(FWP_RANGE0 {
                    valueLow: short(ports.first),
                    valueHigh: short(ports.last),
                }));
                let range = self
                    .ranges
                    .last_mut()
                    .map_or(null_mut(), |range| &raw mut **range);
                FWPM_FILTER_CONDITION0 {
                    fieldKey: FWPM_CONDITION_IP_REMOTE_PORT,
                    matchType: FWP_MATCH_RANGE,
                    conditionValue: value(
                        FWP_RANGE_TYPE,
                        FWP_CONDITION_VALUE0_0 { rangeValue: range },
                    ),
                }
            }
        })
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

impl Engine {
    /// Opens the engine.
    ///
    /// # Errors
    /// `FwpmEngineOpen0`'s: 1764 (not supported) where there is no platform.
    pub fn open() -> Result<Self, CallError> {
        let mut handle: HANDLE = null_mut();
        // SAFETY: no server means this machine; identity and session may be null; the handle is ours to write.
        let code =
            unsafe { FwpmEngineOpen0(null(), RPC_C_AUTHN_WINNT, null(), null(), &raw mut handle) };
        answer(code, "FwpmEngineOpen0", &"")?;
        Ok(Self(handle))
    }

    /// Those filters of ours that have one of these keys.
    ///
    /// # Errors
    /// `FwpmFilterGetByKey0`'s; 13 (invalid data) for a filter under a key of ours that we did not make so.
    pub fn filters(&self, keys: &[Guid]) -> Result<Vec<Filter>, CallError> {
        const CALL: &str = "FwpmFilterGetByKey0";
        let mut found = Vec::new();
        for key in keys {
            let id = GUID::from_u128(key.0);
            let mut filter: *mut FWPM_FILTER0 = null_mut();
            // SAFETY: the engine is open; the key lives for the call; the result is ours to write.
            let code = unsafe { FwpmFilterGetByKey0(self.0, &raw const id, &raw mut filter) };
            if code == FILTER_NOT_FOUND {
                continue;
            }
            answer(code, CALL, key)?;
            let _memory = Memory(filter.cast());
            // SAFETY: the call succeeded, so it points to a filter that lives as long as its memory.
            let filter = unsafe { &*filter };
            let read = read_filter(filter);
            found.push(read.ok_or_else(|| CallError::new(CALL, key, Win32Error(13)))?);
        }
        Ok(found)
    }

    /// The keys of every filter of our provider.
    ///
    /// # Errors
    /// `FwpmFilterEnum0`'s.
    pub fn keys(&self) -> Result<Vec<Guid>, CallError> {
        let mut search: HANDLE = null_mut();
        // SAFETY: the engine is open; without a template all filters are listed; the handle is ours to write.
        let code = unsafe { FwpmFilterCreateEnumHandle0(self.0, null(), &raw mut search) };
        answer(code, "FwpmFilterCreateEnumHandle0", &"")?;
        let keys = self.listed(search);
        // SAFETY: the search is this engine's, and nobody else ends it.
        unsafe { FwpmFilterDestroyEnumHandle0(self.0, search) };
        keys
    }

    fn listed(&self, search: HANDLE) -> Result<Vec<Guid>, CallError> {
        const PAGE: u32 = 256;
        let mut keys = Vec::new();
        loop {
            let mut entries: *mut *mut FWPM_FILTER0 = null_mut();
            let mut count = 0;
            // SAFETY: the engine and the search are open; both results are ours to write.
            let code =
                unsafe { FwpmFilterEnum0(self.0, search, PAGE, &raw mut entries, &raw mut count) };
            answer(code, "FwpmFilterEnum0", &"")?;
            let _memory = Memory(entries.cast());
            for index in 0..usize::try_from(count).unwrap_or(0) {
                // SAFETY: the call has written that many pointers.
                let entry = unsafe { entries.add(index) };
                // SAFETY: as above.
                let filter = unsafe { *entry };
                // SAFETY: each points to a filter that lives as long as the memory.
                let filter = unsafe { &*filter };
                if is_ours(filter) {
                    keys.push(Guid(number(&filter.filterKey)));
                }
            }
            if count < PAGE {
                return Ok(keys);
            }
        }
    }

    /// Deletes the filters of these keys and adds these, in one transaction. Provider and sublayer come with the first
    /// filter, and go with the last.
    ///
    /// # Errors
    /// The calls'; then nothing is changed.
    pub fn replace(&self, remove: &[Guid], add: &[Filter]) -> Result<(), CallError> {
        let transaction = Transaction::begin(self)?;
        for key in remove {
            let id = GUID::from_u128(key.0);
            // SAFETY: the engine is open; the key lives for the call.
            let code = unsafe { FwpmFilterDeleteByKey0(self.0, &raw const id) };
            if code != FILTER_NOT_FOUND {
                answer(code, "FwpmFilterDeleteByKey0", key)?;
            }
        }
        if add.is_empty() {
            self.remove_own()?;
        } else {
            self.add_own()?;
        }
        for filter in add {
            self.add(filter)?;
        }
        transaction.commit()
    }

    fn add_own(&self) -> Result<(), CallError> {
        let (name, what) = (
            text("Ringfence")?,
            text("Keeps sandboxed commands off the network")?,
        );
        let display = || FWPM_DISPLAY_DATA0 {
            name: name.as_ptr().cast_mut(),
            description: what.as_ptr().cast_mut(),
        };
        let provider = FWPM_PROVIDER0 {
            providerKey: PROVIDER,
            displayData: display(),
            flags: FWPM_PROVIDER_FLAG_PERSISTENT,
            ..FWPM_PROVIDER0::default()
        };
        // SAFETY: the engine is open; the structure and its texts live for the call; no descriptor is given.
        let code = unsafe { FwpmProviderAdd0(self.0, &raw const provider, null_mut()) };
        if code != EXISTS {
            answer(code, "FwpmProviderAdd0", &"")?;
        }
        let sublayer = FWPM_SUBLAYER0 {
            subLayerKey: SUBLAYER,
            displayData: display(),
            flags: FWPM_SUBLAYER_FLAG_PERSISTENT,
            providerKey: from_ref(&PROVIDER).cast_mut(),
            weight: SUBLAYER_WEIGHT,
            ..FWPM_SUBLAYER0::default()
        };
        // SAFETY: as above.
        let code = unsafe { FwpmSubLayerAdd0(self.0, &raw const sublayer, null_mut()) };
        if code == EXISTS {
            return Ok(());
        }
        answer(code, "FwpmSubLayerAdd0", &"")
    }

    /// Somebody else's filters of ours keep both where they are.
    fn remove_own(&self) -> Result<(), CallError> {
        // SAFETY: the engine is open; the key is a constant.
        let code = unsafe { FwpmSubLayerDeleteByKey0(self.0, from_ref(&SUBLAYER)) };
        if matches!(code, IN_USE) {
            return Ok(());
        }
        if code != SUBLAYER_NOT_FOUND {
            answer(code, "FwpmSubLayerDeleteByKey0", &"")?;
        }
        // SAFETY: as above.
        let code = unsafe { FwpmProviderDeleteByKey0(self.0, from_ref(&PROVIDER)) };
        if matches!(code, IN_USE | PROVIDER_NOT_FOUND) {
            return Ok(());
        }
        answer(code, "FwpmProviderDeleteByKey0", &"")
    }

    fn add(&self, filter: &Filter) -> Result<(), CallError> {
        let mut parts = Parts::default();
        let mut conditions = filter
            .conditions
            .iter()
            .map(|condition| parts.condition(condition))
            .collect::<Result<Vec<_>, CallError>>()?;
        let name = text(&filter.name)?;
        let raw = FWPM_FILTER0 {
            filterKey: GUID::from_u128(filter.key.0),
            displayData: FWPM_DISPLAY_DATA0 {
                name: name.as_ptr().cast_mut(),
                description: null_mut(),
            },
            flags: FWPM_FILTER_FLAG_PERSISTENT,
            providerKey: from_ref(&PROVIDER).cast_mut(),
            layerKey: layer_key(filter.layer),
            subLayerKey: SUBLAYER,
            weight: FWP_VALUE0 {
                r#type: FWP_UINT8,
                Anonymous: FWP_VALUE0_0 {
                    uint8: filter.weight,
                },
            },
            numFilterConditions: u32::try_from(conditions.len()).unwrap_or(0),
            filterCondition: conditions.as_mut_ptr(),
            action: FWPM_ACTION0 {
                r#type: match filter.action {
                    FilterAction::Permit => FWP_ACTION_PERMIT,
                    FilterAction::Block => FWP_ACTION_BLOCK,
                },
                ..FWPM_ACTION0::default()
            },
            ..FWPM_FILTER0::default()
        };
        // SAFETY: the engine is open; the filter and all that it points to live for the call; the id is not asked for.
        let code = unsafe { FwpmFilterAdd0(self.0, &raw const raw, null_mut(), null_mut()) };
        answer(code, "FwpmFilterAdd0", &filter.key)
    }
}

fn text(text: &str) -> Result<WideText, CallError> {
    WideText::new(text).map_err(|error| CallError::new("FwpmFilterAdd0", error, Win32Error(87)))
}

fn is_ours(filter: &FWPM_FILTER0) -> bool {
    // SAFETY: it is null, or points to a key that lives as long as the filter.
    unsafe { filter.providerKey.as_ref() }.is_some_and(|key| same(key, &PROVIDER))
}

/// The filter as the plan would say it; none for one that it would not.
fn read_filter(filter: &FWPM_FILTER0) -> Option<Filter> {
    let whole = is_ours(filter)
        && same(&filter.subLayerKey, &SUBLAYER)
        && filter.flags & FWPM_FILTER_FLAG_PERSISTENT != 0
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
        layer,
        // SAFETY: the value says that it is of this kind.
        weight: unsafe { filter.weight.Anonymous.uint8 },
        conditions,
        action,
    })
}

fn read_condition(condition: &FWPM_FILTER_CONDITION0) -> Option<Condition> {
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
        // SAFETY: the value says that it is of this kind.
        let range = unsafe { value.Anonymous.rangeValue };
        // SAFETY: it is null, or points to a range that lives as long as the filter.
        let range = unsafe { range.as_ref() }?;
        return Some(Condition::RemotePorts(PortRange {
            first: read_short(&range.valueLow)?,
            last: read_short(&range.valueHigh)?,
        }));
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

fn read_short(value: &FWP_VALUE0) -> Option<u16> {
    if value.r#type != FWP_UINT16 {
        return None;
    }
    // SAFETY: the value says that it is of this kind.
    Some(unsafe { value.Anonymous.uint16 })
}

#[cfg(test)]
mod tests {
    use ringfence_nt::Sid;
    use ringfence_plan::windows::step::{AccountRole, Trustee};

    use super::*;

    #[test]
    fn a_condition_is_read_back_from_the_structures_that_are_written() {
        let user = Trustee::Sid(Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap());
        let marker = Sid::new(0, &[1, 2, 3]).unwrap();
        let ports = PortRange {
            first: 20_000,
            last: 20_031,
        };
        for condition in [
            Condition::User(user),
            Condition::UserOr(user, marker),
            Condition::NotUser(user),
            Condition::Loopback,
            Condition::Tcp,
            Condition::RemotePorts(ports),
            Condition::RawEndpoint,
        ] {
            let mut held = Parts::default();
            let raw = held.condition(&condition).unwrap();
            assert_eq!(read_condition(&raw), Some(condition));
        }
        let unmade = Condition::User(Trustee::Account(AccountRole::Offline));
        assert!(Parts::default().condition(&unmade).is_err());
    }

    #[test]
    fn keys_are_numbers_and_back() {
        let key = 0x1234_5678_9abc_def0_0102_0304_0506_0708;
        assert_eq!(number(&GUID::from_u128(key)), key);
    }

    // Negative: wine has no filtering platform, and says so.
    #[test]
    fn a_machine_without_the_platform_says_so_or_has_none_of_ours() {
        match Engine::open() {
            Ok(engine) => assert_eq!(engine.filters(&[Guid(1)]).unwrap(), []),
            Err(error) => assert_ne!(error.error.0, 0),
        }
    }
}
