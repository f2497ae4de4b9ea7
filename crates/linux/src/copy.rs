//! `memcpy` and `memmove` for static builds with musl, whose own take 45 ns however short the copy: a start makes some
//! thousands, and they were a tenth of the harness's time.
//!
//! One instruction, which processors since 2019 carry out in 5 ns where the length is short, and none slower than
//! what it replaces. Both are needed: musl's `memmove` brings its `memcpy` along. Invariant: nothing but the copy.
#![expect(
    unsafe_code,
    reason = "symbols of the C library, and their one instruction"
)]

use std::arch::naked_asm;

/// memcpy(3).
///
/// # Safety
/// As for memcpy: `from` is readable and `to` writable for `length` bytes, and they do not overlap.
// SAFETY: the symbol has the signature and the meaning that the C library and the compiler give it.
#[cfg_attr(target_env = "musl", unsafe(export_name = "memcpy"))]
#[unsafe(naked)]
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // System V ABI: rdi is `to`, rsi is `from`, rdx is `length`; the direction flag is clear; rax is returned.
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// memmove(3).
///
/// # Safety
/// As for memmove: `from` is readable and `to` writable for `length` bytes.
// SAFETY: as above.
#[cfg_attr(target_env = "musl", unsafe(export_name = "memmove"))]
#[unsafe(naked)]
unsafe extern "C" fn move_bytes(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        // Only where `to` begins inside of `from`, the last byte must go first.
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx",
        "jb 2f",
        "rep movsb",
        "ret",
        "2:",
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
    )
}

#[cfg(test)]
mod tests {
    const LENGTHS: [usize; 12] = [0, 1, 2, 7, 8, 9, 31, 64, 255, 1023, 4096, 4097];

    #[test]
    fn every_byte_is_copied_and_no_other() {
        let from: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for length in LENGTHS {
            let mut to = vec![0xAA; 5000];
            let start = to.as_mut_ptr().wrapping_add(7);
            // SAFETY: both vectors are longer than what is copied, and are not the same.
            let returned = unsafe { super::copy(start, from.as_ptr(), length) };
            assert_eq!(returned, start);
            let mut expected = vec![0xAA; 5000];
            expected.splice(7..7 + length, from[..length].iter().copied());
            assert!(to == expected, "{length}");
        }
    }

    #[test]
    fn what_overlaps_is_moved_as_if_by_way_of_another_place() {
        let before: Vec<u8> = (0..=250).cycle().take(10_000).collect();
        for length in LENGTHS {
            for (to, from) in [
                (0, 0),
                (0, 3),
                (3, 0),
                (64, 0),
                (0, 64),
                (5000, 0),
                (0, 5000),
            ] {
                let mut bytes = before.clone();
                let start = bytes.as_mut_ptr();
                let (target, source) = (start.wrapping_add(to), start.wrapping_add(from));
                // SAFETY: offset and length together stay within the vector.
                let returned = unsafe { super::move_bytes(target, source, length) };
                assert_eq!(returned, target);
                let mut expected = before.clone();
                expected.splice(to..to + length, before[from..from + length].iter().copied());
                assert!(bytes == expected, "{length} bytes from {from} to {to}");
            }
        }
    }
}
