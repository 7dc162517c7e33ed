//! Large arrays of zeroes that take memory only where they are used.
//!
//! Mapped, not allocated: the allocator would clear an aligned array at once. Huge pages where the
//! kernel has them: random lookups over hundreds of megabytes are bound by the TLB otherwise.
//!
//! Invariant of every `unsafe` block here: `base` is the start of a private mapping of at least
//! `count` values, made zero by the kernel, which `T: FromZeros` takes for valid, and unmapped only
//! on drop.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use zerocopy::FromZeros;

/// Arrays below this are not worth a huge page.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Zeroed memory for `count` values.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    base: NonNull<T>,
    count: usize,
    bytes: NonZeroUsize,
}

// SAFETY: owns its values, like a boxed slice.
unsafe impl<T: Send> Send for Arena<T> {}
// SAFETY: gives out shared references only.
unsafe impl<T: Sync> Sync for Arena<T> {}

impl<T: FromZeros> Arena<T> {
    /// Maps memory for `count` values.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "table too large");
        let bytes = count.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        let bytes = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new private mapping where the kernel likes.
        let base = unsafe { mmap_anonymous(None, bytes, protection, flags) }?;
        if bytes.get() >= HUGE_PAGE_BYTES {
            // SAFETY: the mapping made above; the advice changes no content. A kernel without huge
            // pages refuses it, which costs speed alone.
            let _ = unsafe { madvise(base, bytes.get(), MmapAdvise::MADV_HUGEPAGE) };
        }
        Ok(Self { base: base.cast(), count, bytes })
    }
}

impl<T> Arena<T> {
    /// Asks the CPU for the cache line where value `index` begins.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        self.prefetch_at(index, 0);
    }

    /// Asks the CPU for the cache line `offset` octets into value `index`.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    pub(crate) fn prefetch_at(&self, index: usize, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect that the language sees, whatever the address; this one is
        // not reached by an offset that has to be inside of the mapping.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let value = self.base.as_ptr().wrapping_add(index).cast::<i8>();
            _mm_prefetch(value.wrapping_add(offset), _MM_HINT_T0);
        }
    }
}

impl<T> Deref for Arena<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the module's invariant.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; no reference outlives `self`. The values need no drop.
        let _ = unsafe { munmap(self.base.cast(), self.bytes.get()) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn zeroed_aligned_and_lazy() {
        // 64 GiB of address space: could not be had if it took memory.
        let arena: Arena<AtomicU64> = Arena::new(1 << 33).unwrap();
        assert_eq!(arena.len(), 1 << 33);
        assert_eq!(arena.as_ptr().align_offset(4096), 0);
        let last = &arena[(1 << 33) - 1];
        assert_eq!(last.load(Ordering::Relaxed), 0);
        last.store(7, Ordering::Relaxed);
        assert_eq!(last.load(Ordering::Relaxed), 7);
        arena.prefetch(1 << 34);
    }

    #[test]
    fn empty_and_absurd() {
        assert!(Arena::<AtomicU64>::new(0).unwrap().is_empty());
        assert!(Arena::<AtomicU64>::new(usize::MAX).is_err());
        assert!(Arena::<AtomicU64>::new(usize::MAX / 16).is_err());
    }
}
