//! A sandbox in which the system refuses some calls, as the seccomp profiles of containers do.

use std::{env::consts::ARCH, thread};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// A call that is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    call: i64,
    error: i32,
    /// Only where this bit of the first argument is set.
    bit: Option<u64>,
}

impl Refused {
    /// It is not permitted.
    pub const fn call(call: i64) -> Self {
        Self {
            call,
            error: libc::EPERM,
            bit: None,
        }
    }

    /// No thread is given, as at a limit of processes; processes are.
    pub const THREADS: [Self; 2] = [
        Self {
            call: libc::SYS_clone,
            error: libc::EAGAIN,
            bit: Some(libc::CLONE_THREAD as u64),
        },
        // Its flags cannot be seen; the C library then takes the other one.
        Self {
            call: libc::SYS_clone3,
            error: libc::ENOSYS,
            bit: None,
        },
    ];

    fn program(self) -> BpfProgram {
        let rules = self.bit.map(|bit| {
            let set = SeccompCmpOp::MaskedEq(bit);
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, bit);
            SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule")
        });
        let filter = SeccompFilter::new(
            [(self.call, Vec::from_iter(rules))].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(self.error as u32),
            ARCH.try_into().expect("an architecture with seccomp"),
        );
        filter.expect("a filter").try_into().expect("a program")
    }
}

/// Does something on a thread to which these calls are refused, and to every process that it
/// starts; other threads keep them.
pub fn without<T: Send>(refused: &[Refused], deed: impl FnOnce() -> T + Send) -> T {
    let done = thread::scope(|scope| {
        let inside = move || {
            for one in refused {
                apply_filter(&one.program()).expect("the kernel takes a filter");
            }
            deed()
        };
        scope.spawn(inside).join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
