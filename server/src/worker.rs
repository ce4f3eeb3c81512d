//! Work beside the runtime, chosen in one place: threads, or tasks in the stack simulation.
//!
//! A thread runs when the system lets it, so two runs of one seed would differ. With the feature
//! `simulated`, which the simulation of `cotter-tests` alone turns on, the owner of a replica and work
//! that takes long are tasks of the one thread on which their simulated host runs.
//!
//! Nothing here may decide anything; a turn of the owner is the same in both.

use tokio::task::JoinHandle;

/// Does work that takes long away from the tasks that must not wait for it.
pub(crate) fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(not(feature = "simulated"))]
    return tokio::task::spawn_blocking(work);
    #[cfg(feature = "simulated")]
    return tokio::spawn(async move { work() });
}

/// A worker that goes on until it ends by itself.
#[derive(Debug)]
pub(crate) struct Worker {
    #[cfg(not(feature = "simulated"))]
    thread: std::thread::JoinHandle<()>,
    #[cfg(feature = "simulated")]
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts a thread.
    #[cfg(not(feature = "simulated"))]
    pub(crate) fn start(
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { thread })
    }

    /// Starts a task.
    #[cfg(feature = "simulated")]
    pub(crate) fn start(work: impl Future<Output = ()> + 'static) -> Self {
        let task = tokio::task::spawn_local(work);
        Self { task }
    }

    /// Waits until it has ended. A panic of its own was told by the hook.
    pub(crate) async fn ended(self) {
        #[cfg(not(feature = "simulated"))]
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
        #[cfg(feature = "simulated")]
        let _ = self.task.await;
    }
}
