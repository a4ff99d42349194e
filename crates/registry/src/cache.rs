//! Remembers answers, and asks each question once however many wait for its answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use lru::LruCache;
use tokio::time::Instant;
use tracing::warn;

use crate::REFUSAL_AGE_MAX;
use crate::failure::{Cause, Failure};

/// How many bytes of text a question or an answer holds, roughly.
pub(crate) trait Weighs {
    fn text_bytes(&self) -> usize {
        0
    }
}

type Answer<V> = Result<V, Failure>;
type Asking<V> = BoxFuture<'static, Answer<V>>;

/// The answers to one kind of question.
pub(crate) struct Cache<K, V: Clone>(Arc<Mutex<Held<K, V>>>);

struct Held<K, V: Clone> {
    known: LruCache<K, Known<V>>,
    answers_max: usize,
    text_bytes: usize,
    text_bytes_max: usize,
    /// What is being asked now. Held weakly: a question that nobody waits for any more is given up.
    asked: HashMap<K, WeakShared<Asking<V>>>,
    /// So many of those may be there before the ones given up are cleared away.
    asked_max: usize,
}

struct Known<V> {
    answer: Answer<V>,
    /// When it has to be asked again; never for what cannot change.
    until: Option<Instant>,
    text_bytes: usize,
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Weighs + Send + 'static,
    V: Clone + Weighs + Send + Sync + 'static,
{
    pub(crate) fn new(answers_max: usize, text_bytes_max: usize) -> Self {
        let held = Held {
            // It would otherwise take the memory of all of them at once.
            known: LruCache::unbounded(),
            answers_max,
            text_bytes: 0,
            text_bytes_max,
            asked: HashMap::new(),
            asked_max: 0,
        };
        Self(Arc::new(Mutex::new(held)))
    }

    /// The answer that is remembered, or the one to `ask`, which holds for `age`, for ever if that is not given.
    pub(crate) async fn get<F>(&self, key: &K, age: Option<Duration>, ask: impl FnOnce() -> F) -> Answer<V>
    where
        F: Future<Output = Answer<V>> + Send + 'static,
    {
        let asking = {
            let mut held = self.lock();
            if let Some(answer) = held.fresh(key) {
                return answer;
            }
            match held.asked.get(key).and_then(WeakShared::upgrade) {
                Some(asking) => asking,
                None => held.asking(key, self.asking(key.clone(), age, ask())),
            }
        };
        asking.await
    }

    fn asking(
        &self,
        key: K,
        age: Option<Duration>,
        ask: impl Future<Output = Answer<V>> + Send + 'static,
    ) -> Asking<V> {
        let cache = Self(self.0.clone());
        async move {
            let answer = ask.await;
            cache.lock().take_answer(key, age, answer)
        }
        .boxed()
    }

    fn lock(&self) -> MutexGuard<'_, Held<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Held<K, V>
where
    K: Clone + Eq + Hash + Weighs,
    V: Clone + Weighs,
{
    /// What is known and still holds.
    fn fresh(&mut self, key: &K) -> Option<Answer<V>> {
        let known = self.known.get(key)?;
        let holds = known.until.is_none_or(|until| Instant::now() < until);
        holds.then(|| known.answer.clone())
    }

    fn asking(&mut self, key: &K, asking: Asking<V>) -> Shared<Asking<V>> {
        if self.asked.len() >= self.asked_max {
            self.asked.retain(|_, asking| asking.upgrade().is_some());
            self.asked_max = 2 * self.asked.len() + 64;
        }
        let asking = asking.shared();
        if let Some(weak) = asking.downgrade() {
            self.asked.insert(key.clone(), weak);
        }
        asking
    }

    /// Takes an answer, and says what is to be believed: while the registry is away, what it said last.
    fn take_answer(&mut self, key: K, age: Option<Duration>, answer: Answer<V>) -> Answer<V> {
        self.asked.remove(&key);
        let (answer, age) = match answer {
            Ok(value) => (Ok(value), age),
            Err(failure) => match (failure.cause, self.known.peek(&key).map(|known| &known.answer)) {
                (Cause::Unknown | Cause::Refused, _) => (Err(failure), Some(REFUSAL_AGE_MAX)),
                (Cause::Away, Some(Ok(last))) => {
                    warn!(%failure, "the last answer of the schema registry holds for now");
                    (Ok(last.clone()), Some(REFUSAL_AGE_MAX))
                }
                _ => return Err(failure),
            },
        };
        self.remember(key, answer.clone(), age);
        answer
    }

    fn remember(&mut self, key: K, answer: Answer<V>, age: Option<Duration>) {
        let text_bytes = key.text_bytes() + answer.as_ref().map_or(0, Weighs::text_bytes);
        let known = Known { answer, until: age.map(|age| Instant::now() + age), text_bytes };
        self.text_bytes += text_bytes;
        if let Some(former) = self.known.put(key, known) {
            self.text_bytes -= former.text_bytes;
        }
        while self.known.len() > self.answers_max || self.text_bytes > self.text_bytes_max {
            let Some((_, oldest)) = self.known.pop_lru() else { break };
            self.text_bytes -= oldest.text_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Text(&'static str);

    impl Weighs for Text {
        fn text_bytes(&self) -> usize {
            self.0.len()
        }
    }

    impl Weighs for u32 {}

    fn cache(answers_max: usize, text_bytes_max: usize) -> Cache<u32, Text> {
        Cache::new(answers_max, text_bytes_max)
    }

    /// Asks, and says whether it had to.
    async fn ask(cache: &Cache<u32, Text>, key: u32, text: &'static str) -> bool {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let answer = cache.get(&key, None, || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Text(text))
        });
        assert_eq!(answer.await.unwrap(), Text(text));
        asked.load(Ordering::Relaxed) == 1
    }

    #[tokio::test]
    async fn the_one_not_asked_for_the_longest_is_forgotten() {
        let cache = cache(2, 1000);
        assert!(ask(&cache, 1, "a").await && ask(&cache, 2, "b").await);
        assert!(!ask(&cache, 1, "a").await);
        assert!(ask(&cache, 3, "c").await);
        assert!(!ask(&cache, 1, "a").await && ask(&cache, 2, "b").await);
        assert_eq!(cache.lock().known.len(), 2);
    }

    #[tokio::test]
    async fn texts_have_a_bound_too() {
        let cache = cache(100, 10);
        assert!(ask(&cache, 1, "12345").await && ask(&cache, 2, "12345").await);
        assert!(!ask(&cache, 1, "12345").await);
        assert!(ask(&cache, 3, "1").await);
        assert_eq!(cache.lock().text_bytes, 6);
        assert!(!ask(&cache, 1, "12345").await && ask(&cache, 2, "12345").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_is_given_up() {
        let cache = cache(10, 100);
        let held = Arc::new(());
        let inside = held.clone();
        let endless = cache.get(&1, None, || async move {
            let _inside = inside;
            std::future::pending().await
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), endless).await.is_err());
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(ask(&cache, 1, "a").await);
        // What was given up is cleared away, and does not pile up.
        for key in 10..1000 {
            let endless = cache.get(&key, None, std::future::pending);
            let _ = tokio::time::timeout(Duration::from_millis(1), endless).await;
        }
        assert!(cache.lock().asked.len() <= 64, "{}", cache.lock().asked.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_grows_old_and_holds_while_the_registry_is_away() {
        let cache = cache(10, 100);
        let age = Some(Duration::from_secs(60));
        let away = || Failure::new(Cause::Away, "gone");
        let first = cache.get(&1, age, || async { Ok(Text("a")) }).await;
        assert_eq!(first.unwrap(), Text("a"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(&1, age, || async { Ok(Text("b")) }).await.unwrap(), Text("a"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(cache.get(&1, age, || async move { Err(away()) }).await.unwrap(), Text("a"));
        tokio::time::advance(REFUSAL_AGE_MAX).await;
        assert_eq!(cache.get(&1, age, || async { Ok(Text("b")) }).await.unwrap(), Text("b"));
        // What is not known yet fails, and is asked again at once.
        let failed = cache.get(&2, age, || async move { Err(away()) }).await;
        assert_eq!(failed.unwrap_err().cause, Cause::Away);
        assert!(ask(&cache, 2, "c").await);
    }
}
