//! Tasks that have names, so that one which fails can be told.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use crate::sync::error::SyncError;

/// Tasks side by side. Dropping it ends them.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<Result<(), SyncError>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts one.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), SyncError>> + Send + 'static,
    ) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the next one to end; one that has panicked is named. None when all have ended.
    pub(super) async fn next(&mut self) -> Option<Result<(), SyncError>> {
        let ended = self.running.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(|error| error.id(), |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or("folder");
        Some(ended.map_or(Err(SyncError::Task { task: name }), |(_, result)| result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named_and_the_others_go_on() {
        let mut tasks = Tasks::default();
        let (tell, told) = tokio::sync::oneshot::channel();
        tasks.spawn("waits", async {
            told.await.unwrap();
            Ok(())
        });
        tasks.spawn("publish", async { panic!("on purpose") });
        let first = tasks.next().await;
        assert!(matches!(first, Some(Err(SyncError::Task { task: "publish" }))), "{first:?}");
        tell.send(()).unwrap();
        assert!(matches!(tasks.next().await, Some(Ok(()))));
        assert!(tasks.next().await.is_none());
    }
}
