//! Filters of the Windows Filtering Platform.
//!
//! Source: learn.microsoft.com "Windows Filtering Platform", `FwpmFilterAdd0`, `FwpmFilterGetByKey0`. The provider is
//! ours, with a fixed key; sublayers are the plan's, one for each person; filters are persistent. Invariant: a transaction that is not committed is
//! aborted, and what is read back is compared whole: a filter that is not ours in every part is none of ours.

mod parts;
mod read;

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr::{from_ref, null, null_mut};

use ringfence_plan::windows::filters;
use ringfence_plan::windows::step::{Filter, FilterAction, Guid, Layer};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_PERMIT, FWP_UINT8, FWP_VALUE0, FWP_VALUE0_0, FWPM_ACTION0,
    FWPM_DISPLAY_DATA0, FWPM_FILTER_FLAG_PERSISTENT, FWPM_FILTER0, FWPM_LAYER_ALE_AUTH_CONNECT_V4,
    FWPM_LAYER_ALE_AUTH_CONNECT_V6, FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4,
    FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6, FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V4,
    FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V6, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0,
    FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0, FwpmEngineClose0, FwpmEngineOpen0,
    FwpmFilterAdd0, FwpmFilterCreateEnumHandle0, FwpmFilterDeleteByKey0,
    FwpmFilterDestroyEnumHandle0, FwpmFilterEnum0, FwpmFilterGetByKey0, FwpmFreeMemory0,
    FwpmProviderAdd0, FwpmProviderDeleteByKey0, FwpmSubLayerAdd0, FwpmSubLayerDeleteByKey0,
    FwpmTransactionAbort0, FwpmTransactionBegin0, FwpmTransactionCommit0,
};
use windows_sys::Win32::Networking::WinSock::{SIO_RCVALL, SIO_RCVALL_IGMPMCAST, SIO_RCVALL_MCAST};
use windows_sys::Win32::System::Rpc::RPC_C_AUTHN_WINNT;
use windows_sys::core::GUID;

use super::error::{CallError, Win32Error};
use super::wide::WideText;
use parts::Parts;
use read::{Seen, is_ours, see};

/// Our provider.
const PROVIDER: GUID = GUID::from_u128(filters::PROVIDER.0);

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
/// The ways in which a socket receives what is sent to others; their numbers are neighbours, `SIO_RCVALL_MCAST` between.
const PROMISCUOUS: [u32; 2] = [SIO_RCVALL, SIO_RCVALL_IGMPMCAST];
const _: () = assert!(SIO_RCVALL_MCAST == SIO_RCVALL + 1 && SIO_RCVALL_IGMPMCAST == SIO_RCVALL + 2);

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

    /// Those filters of ours that have one of these keys, are in force and of a form that a plan has; any other of our
    /// provider's is left out, as if it were not there.
    ///
    /// # Errors
    /// `FwpmFilterGetByKey0`'s; 13 (invalid data) for a filter of somebody else's under a key of ours.
    pub fn filters(&self, keys: &[Guid]) -> Result<Vec<Filter>, CallError> {
        const CALL: &str = "FwpmFilterGetByKey0";
        let mut found = Vec::new();
        for key in keys {
            match self.with_filter(*key, see)? {
                Some(Seen::Ours(filter)) => found.push(filter),
                Some(Seen::Foreign) => return Err(CallError::new(CALL, key, Win32Error(13))),
                Some(Seen::Changed) | None => {}
            }
        }
        Ok(found)
    }

    /// Asks something of the filter of that key; none where there is none.
    fn with_filter<T>(
        &self,
        key: Guid,
        ask: impl FnOnce(&FWPM_FILTER0) -> T,
    ) -> Result<Option<T>, CallError> {
        let id = GUID::from_u128(key.0);
        let mut filter: *mut FWPM_FILTER0 = null_mut();
        // SAFETY: the engine is open; the key lives for the call; the result is ours to write.
        let code = unsafe { FwpmFilterGetByKey0(self.0, &raw const id, &raw mut filter) };
        if code == FILTER_NOT_FOUND {
            return Ok(None);
        }
        answer(code, "FwpmFilterGetByKey0", &key)?;
        let _memory = Memory(filter.cast());
        // SAFETY: the call succeeded, so it points to a filter that lives as long as its memory.
        Ok(Some(ask(unsafe { &*filter })))
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

    /// Deletes the filters of these keys and adds these, in one transaction. Provider and sublayers come with the first
    /// filter in them, and go with the last.
    ///
    /// # Errors
    /// The calls'; then nothing is changed.
    pub fn replace(&self, remove: &[Guid], add: &[Filter]) -> Result<(), CallError> {
        let transaction = Transaction::begin(self)?;
        let mut emptied = BTreeSet::new();
        for key in remove {
            let sublayer = |filter: &FWPM_FILTER0| Guid(number(&filter.subLayerKey));
            emptied.extend(self.with_filter(*key, sublayer)?);
            let id = GUID::from_u128(key.0);
            // SAFETY: the engine is open; the key lives for the call.
            let code = unsafe { FwpmFilterDeleteByKey0(self.0, &raw const id) };
            if code != FILTER_NOT_FOUND {
                answer(code, "FwpmFilterDeleteByKey0", key)?;
            }
        }
        let filled: BTreeSet<Guid> = add.iter().map(|filter| filter.sublayer).collect();
        for sublayer in &filled {
            self.add_sublayer(*sublayer)?;
        }
        for filter in add {
            self.add(filter)?;
        }
        for sublayer in emptied.difference(&filled) {
            self.remove_sublayer(*sublayer)?;
        }
        transaction.commit()
    }

    /// Adds our provider and a sublayer; those that are there stay.
    fn add_sublayer(&self, sublayer: Guid) -> Result<(), CallError> {
        let (name, what) = (
            text("Ringfence")?,
            text("Keeps sandboxed commands off the network")?,
        );
        let display = || FWPM_DISPLAY_DATA0 {
            name: name.as_ptr().cast_mut(),
            description: what.as_ptr().cast_mut(),
        };
        let service = text(filters::PROVIDER_SERVICE)?;
        let provider = FWPM_PROVIDER0 {
            providerKey: PROVIDER,
            displayData: display(),
            flags: FWPM_PROVIDER_FLAG_PERSISTENT,
            serviceName: service.as_ptr().cast_mut(),
            ..FWPM_PROVIDER0::default()
        };
        // SAFETY: the engine is open; the structure and its texts live for the call; no descriptor is given.
        let code = unsafe { FwpmProviderAdd0(self.0, &raw const provider, null_mut()) };
        if code != EXISTS {
            answer(code, "FwpmProviderAdd0", &"")?;
        }
        let layer = FWPM_SUBLAYER0 {
            subLayerKey: GUID::from_u128(sublayer.0),
            displayData: display(),
            flags: FWPM_SUBLAYER_FLAG_PERSISTENT,
            providerKey: from_ref(&PROVIDER).cast_mut(),
            weight: filters::SUBLAYER_WEIGHT,
            ..FWPM_SUBLAYER0::default()
        };
        // SAFETY: as above.
        let code = unsafe { FwpmSubLayerAdd0(self.0, &raw const layer, null_mut()) };
        if code == EXISTS {
            return Ok(());
        }
        answer(code, "FwpmSubLayerAdd0", &sublayer)
    }

    /// Removes a sublayer that has no filter any more, and our provider with the last of them.
    fn remove_sublayer(&self, sublayer: Guid) -> Result<(), CallError> {
        let key = GUID::from_u128(sublayer.0);
        // SAFETY: the engine is open; the key lives for the call.
        let code = unsafe { FwpmSubLayerDeleteByKey0(self.0, &raw const key) };
        if code == IN_USE {
            return Ok(());
        }
        if code != SUBLAYER_NOT_FOUND {
            answer(code, "FwpmSubLayerDeleteByKey0", &sublayer)?;
        }
        // SAFETY: as above; the key is a constant.
        let code = unsafe { FwpmProviderDeleteByKey0(self.0, from_ref(&PROVIDER)) };
        // Another person's filters keep it where it is.
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
            subLayerKey: GUID::from_u128(filter.sublayer.0),
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

#[cfg(test)]
mod tests {
    use ringfence_nt::Sid;
    use ringfence_plan::windows::step::{AccountRole, Condition, PortRange, Trustee};

    use super::read::read_condition;
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
            Condition::NotUserNorAnonymous(user),
            Condition::Loopback,
            Condition::Tcp,
            Condition::RemotePorts(ports),
            Condition::RawEndpoint,
            Condition::Promiscuous,
        ] {
            let mut held = Parts::default();
            let raw = held.condition(&condition).unwrap();
            assert_eq!(read_condition(&raw), Some(condition));
        }
        let unmade = Condition::User(Trustee::Account(AccountRole::Offline));
        assert!(Parts::default().condition(&unmade).is_err());
    }

    #[test]
    fn a_filter_that_is_disabled_or_of_another_form_counts_as_missing_and_one_of_somebody_else_as_foreign()
     {
        use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::FWPM_FILTER_FLAG_DISABLED;
        let name = text("a name").unwrap();
        let mut key = PROVIDER;
        let mut filter = FWPM_FILTER0 {
            providerKey: &raw mut key,
            flags: FWPM_FILTER_FLAG_PERSISTENT,
            layerKey: FWPM_LAYER_ALE_AUTH_CONNECT_V4,
            ..FWPM_FILTER0::default()
        };
        filter.displayData.name = name.as_ptr().cast_mut();
        filter.weight.r#type = FWP_UINT8;
        filter.action.r#type = FWP_ACTION_BLOCK;
        assert!(matches!(see(&filter), Seen::Ours(found) if found.conditions.is_empty()));
        let changes: [fn(&mut FWPM_FILTER0); 5] = [
            |filter| filter.flags |= FWPM_FILTER_FLAG_DISABLED,
            |filter| filter.flags = 0,
            |filter| filter.weight.r#type = 0,
            |filter| filter.action.r#type = 0,
            |filter| filter.layerKey = PROVIDER,
        ];
        for change in changes {
            let mut other = filter;
            change(&mut other);
            assert_eq!(see(&other), Seen::Changed);
        }
        filter.providerKey = null_mut();
        assert_eq!(see(&filter), Seen::Foreign);
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
