//! The processor of a thread: pinning it, and reading what it has used.

use pinfire_base::clock::{NANOS_PER_SECOND, Span};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Binds the calling thread to processor `cpu`.
///
/// # Errors
/// When the processor does not exist or the process may not use it.
pub fn pin(cpu: usize) -> Result<(), Errno> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Errno::INVAL);
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
}

/// Processor time the calling thread has used so far, user and system together.
pub fn thread_time() -> Span {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Span::from_nanos(time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64)
}
