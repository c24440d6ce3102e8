//! Work of which one piece is under way at a time, and which goes on when nobody waits for it any more.

use std::io;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::run;

/// One kind of work that may take long, such as reading the files of one credential.
pub struct Background<T> {
    /// Until somebody has seen its end.
    under_way: Mutex<Option<JoinHandle<io::Result<T>>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Does `work` as [`run`] does, and waits for its end.
    ///
    /// With `patience`, no longer than that: `None` says that it goes on, and whoever comes while it does waits for
    /// that piece, and with `patience` not at all. So what never ends is waited for once.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        patience: Option<Duration>,
    ) -> Option<io::Result<T>> {
        let mut under_way = self.under_way.lock().await;
        let before = under_way.take().filter(|before| !before.is_finished());
        let patience = match before {
            Some(_) => patience.map(|_| Duration::ZERO),
            None => patience,
        };
        let piece = under_way.insert(before.unwrap_or_else(|| tokio::spawn(run(work))));
        let ended = match patience {
            Some(patience) => timeout(patience, piece).await.ok()?,
            None => piece.await,
        };
        *under_way = None;
        Some(ended.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

impl<T> Default for Background<T> {
    fn default() -> Self {
        let under_way = Mutex::new(None);
        Self { under_way }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_does_not_end_is_waited_for_once_and_its_end_is_that_of_who_comes_later() {
        let background = Background::default();
        let (release, held) = mpsc::channel::<u8>();
        let first = move || held.recv().unwrap_or_default();
        let brief = Some(Duration::from_millis(50));
        assert!(background.run(first, brief).await.is_none());
        // However long one would wait: at once.
        let second = || panic!("one piece is under way");
        assert!(background.run(second, Some(SOON)).await.is_none());

        let third = background.run(|| panic!("one piece is under way"), None);
        let (ended, ()) = tokio::join!(third, async { release.send(7).unwrap() });
        assert_eq!(ended.unwrap().unwrap(), 7);
        let fourth = background.run(|| 8, Some(SOON)).await;
        assert_eq!(fourth.unwrap().unwrap(), 8);
    }
}
