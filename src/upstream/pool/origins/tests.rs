use std::convert::Infallible;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::super::tests::{endpoint, give_back};
use super::*;

fn origin(port: u16) -> Origin {
    Origin {
        scheme: Scheme::HTTP,
        host: Host::Domain("localhost".to_owned()),
        port,
    }
}

/// A server that accepts whatever comes, and pools of which the endpoints lead to it.
struct World {
    listener: TcpListener,
    pools: OriginPools<()>,
    start: Instant,
}

impl World {
    async fn new(max: usize) -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            pools: OriginPools::new(max),
            start: Instant::now(),
        }
    }

    /// The pool of the origin with this number, asked for this many seconds after the start.
    fn pool(&self, number: u16, second: u64) -> Result<Rc<Pool>, OriginPoolError<Infallible>> {
        let address = self.listener.local_addr().unwrap();
        let now = self.start + Duration::from_secs(second);
        let new = || Ok((Arc::new(endpoint(vec![address])), ()));
        Ok(self.pools.pool(&origin(number), now, new)?.0)
    }

    fn has(&self, number: u16) -> bool {
        self.pools.pools.borrow().contains_key(&origin(number))
    }

    /// Opens a connection of this pool, and leaves it idle.
    async fn leave_idle(&self, pool: Rc<Pool>) {
        give_back(pool.open(true).await.unwrap());
    }
}

#[tokio::test]
async fn an_origin_has_one_pool_until_its_last_connection_has_been_closed() {
    let check = async {
        let world = World::new(4).await;
        let pool = world.pool(1, 0).unwrap();
        assert!(Rc::ptr_eq(&pool, &world.pool(1, 1).unwrap()));
        assert!(!Rc::ptr_eq(&pool, &world.pool(2, 1).unwrap()));
        world.leave_idle(pool).await;
        let after = |seconds| world.start + Duration::from_secs(seconds);
        world.pools.sweep(after(60));
        assert!(world.has(1), "its connection is idle");
        assert!(!world.has(2), "it has none");
        let reused = world.pool(1, 61).unwrap().take();
        world.pools.sweep(after(4000));
        assert!(world.has(1), "its connection is in use");
        drop(reused);
        world.pools.sweep(after(4001));
        assert!(!world.has(1));
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn the_pool_that_was_asked_for_longest_ago_makes_room() {
    let check = async {
        let world = World::new(2).await;
        for number in [1, 2] {
            let pool = world.pool(number, number.into()).unwrap();
            world.leave_idle(pool).await;
        }
        world.pool(1, 3).unwrap();
        world.pool(3, 4).unwrap();
        assert!(world.has(1) && !world.has(2) && world.has(3));
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn pools_in_use_are_not_removed_and_no_more_are_made() {
    let check = async {
        let world = World::new(2).await;
        let busy = world.pool(1, 1).unwrap().open(true).await.unwrap();
        // Its holder may use it at any time.
        let held = world.pool(2, 2).unwrap();
        let error = world.pool(3, 3).err().unwrap();
        assert_eq!(error, OriginPoolError::Full { max: 2 });
        assert!(error.to_string().contains("requests to 2 other origins"));
        assert!(world.pool(1, 4).is_ok(), "it is there");
        drop(held);
        assert!(world.pool(3, 5).is_ok());
        assert!(world.has(1) && !world.has(2));
        drop(busy);
    };
    LocalSet::new().run_until(check).await;
}

#[tokio::test]
async fn without_an_endpoint_no_pool_makes_room() {
    let check = async {
        let world = World::new(1).await;
        world.pool(1, 1).unwrap();
        let now = world.start + Duration::from_secs(2);
        let failed = world.pools.pool(&origin(2), now, || Err("no such file"));
        assert!(matches!(
            failed,
            Err(OriginPoolError::Endpoint("no such file"))
        ));
        assert!(world.has(1) && !world.has(2));
    };
    LocalSet::new().run_until(check).await;
}
