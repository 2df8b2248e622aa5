//! The threads that index in the background, for the whole process.
//!
//! There are at most half as many as the machine has cores, at least one, and only while there is work: a thread
//! without work ends. Work is done in slices, in turn, so that no collection waits for another's import to end.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Work that is done slice by slice.
pub(crate) trait Work: Send + Sync {
    /// Does one slice, some milliseconds; says whether there is more.
    fn slice(&self) -> bool;
}

struct Workers {
    queue: VecDeque<Arc<dyn Work>>,
    threads: usize,
}

static WORKERS: Mutex<Workers> = Mutex::new(Workers {
    queue: VecDeque::new(),
    threads: 0,
});

fn threads_max() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Queues work. It must not be queued already.
pub(crate) fn submit(work: Arc<dyn Work>) {
    let mut workers = WORKERS.lock();
    workers.queue.push_back(work);
    if workers.threads < threads_max() {
        let thread = std::thread::Builder::new().name("pando-index".into());
        // Where there is no thread to be had, the next submission tries again; meanwhile what is not indexed is
        // scanned.
        if thread.spawn(run).is_ok() {
            workers.threads += 1;
        }
    }
}

/// Takes itself off the count however it ends.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        WORKERS.lock().threads -= 1;
    }
}

fn run() {
    let counted = Counted;
    loop {
        let mut workers = WORKERS.lock();
        let Some(work) = workers.queue.pop_front() else {
            // Under the lock: whoever submits next must not count on a thread that is about to end.
            workers.threads -= 1;
            std::mem::forget(counted);
            return;
        };
        drop(workers);
        if work.slice() {
            WORKERS.lock().queue.push_back(work);
        }
    }
}
