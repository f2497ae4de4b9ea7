//! The allocator of the static release.
//!
//! musl's own maps and unmaps memory for every few allocations, and `dlmalloc`'s ready-made global takes its lock by
//! four calls into musl: a pair of allocation and release costs 66 ns that way and 42 ns behind the standard library's
//! mutex. A start makes some thousands. Invariant: the heap is touched under the lock alone.

#![expect(
    unsafe_code,
    reason = "an allocator's contract can't be said to the compiler"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

/// `dlmalloc` behind a mutex that takes no memory of its own. For `#[global_allocator]` of a static program.
pub struct Allocator(Mutex<Dlmalloc>);

impl Allocator {
    /// An empty heap.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "only a constant can be a global allocator"
    )]
    pub const fn new() -> Self {
        Self(Mutex::new(Dlmalloc::new()))
    }

    fn heap(&self) -> MutexGuard<'_, Dlmalloc> {
        // Nothing panics while it is held; and a heap whose last call was broken off is no reason to have none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Allocator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Allocator").finish_non_exhaustive()
    }
}

// SAFETY: every block comes from one heap, which only the holder of the lock touches; sizes and alignments are passed on
// as they come, and the heap answers null where it has nothing. No function panics or calls back into the allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `malloc` takes any size with an alignment that is a power of two, as every `Layout` has.
        unsafe { self.heap().malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `calloc` asks for what `malloc` asks for.
        unsafe { self.heap().calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `free` takes a block of this heap with the layout it was made with, which is this function's contract.
        unsafe { self.heap().free(block, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `free`; the new size is not zero, which is this function's contract.
        unsafe {
            self.heap()
                .realloc(block, layout.size(), layout.align(), size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_apart_and_keep_their_content_from_several_threads() {
        static HEAP: Allocator = Allocator::new();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    let mut blocks = Vec::new();
                    for size in 1..400_usize {
                        let layout = Layout::from_size_align(size, 1 << (size % 8)).unwrap();
                        // SAFETY: the layout's size is not zero.
                        let block = unsafe { HEAP.alloc(layout) };
                        assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
                        // SAFETY: the block is `size` bytes long and nobody else's.
                        unsafe { block.write_bytes(thread, size) };
                        blocks.push((block, layout));
                    }
                    for (block, layout) in blocks {
                        let size = layout.size();
                        // SAFETY: the block is of this heap and has this layout; twice the size is not zero.
                        let grown = unsafe { HEAP.realloc(block, layout, size * 2) };
                        assert!(!grown.is_null());
                        // SAFETY: the first `size` bytes were written above and moved by `realloc`.
                        let kept = unsafe { std::slice::from_raw_parts(grown, size) };
                        assert!(kept.iter().all(|byte| *byte == thread));
                        let layout = Layout::from_size_align(size * 2, layout.align()).unwrap();
                        // SAFETY: the block is of this heap and has this layout now.
                        unsafe { HEAP.dealloc(grown, layout) };
                    }
                });
            }
        });
    }

    #[test]
    fn zeroed_memory_is_zero_also_where_a_block_was_used_before() {
        static HEAP: Allocator = Allocator::new();
        let layout = Layout::from_size_align(4096, 16).unwrap();
        // SAFETY: the layout's size is not zero.
        let used = unsafe { HEAP.alloc(layout) };
        // SAFETY: the block is that long.
        unsafe { used.write_bytes(0xff, layout.size()) };
        // SAFETY: the block is of this heap, and not used afterwards.
        unsafe { HEAP.dealloc(used, layout) };
        // SAFETY: the layout's size is not zero.
        let zeroed = unsafe { HEAP.alloc_zeroed(layout) };
        assert!(!zeroed.is_null());
        // SAFETY: the block is that long, and `alloc_zeroed` has written all of it.
        let content = unsafe { std::slice::from_raw_parts(zeroed, layout.size()) };
        assert!(content.iter().all(|byte| *byte == 0));
        // SAFETY: the block is of this heap and has this layout.
        unsafe { HEAP.dealloc(zeroed, layout) };
    }
}
