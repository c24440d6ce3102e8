use super::receiving_api::{begin, client, sent_unread, upload};
use super::*;

const BUDGET: usize = 64 * MIB;
const EVERYTHING: usize = usize::MAX;
const SHORT: usize = 1000;

/// How much of the budget is taken.
fn taken(budget: &Arc<Budget>) -> usize {
    let mut rest = Share::of(budget);
    rest.grow_to(BUDGET);
    BUDGET - 4 * rest.bytes()
}

#[tokio::test(start_paused = true)]
async fn a_first_upload_takes_one_round_trip_more_than_the_next_for_the_settings_to_arrive() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let mut client = client(&budget, way(FAR), EVERYTHING).await;
            let first = upload(&mut client, LENGTH).await;
            assert!(first < FAR * 5 / 2, "{first:?}");
            sleep(LONG).await;
            let next = upload(&mut client, LENGTH).await;
            assert!(next < FAR * 3 / 2, "{next:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_share_a_first_upload_takes_three_round_trips_and_the_next_one() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(4 * BUDGET);
            let mut others = Share::of(&budget);
            (0..3).for_each(|_| others.grow_to(4 * BUDGET));
            let mut client = client(&budget, way(FAR), EVERYTHING).await;
            let first = upload(&mut client, LENGTH).await;
            assert!(first < FAR * 7 / 2, "{first:?}");
            let next = upload(&mut client, LENGTH).await;
            assert!(next < FAR * 3 / 2, "{next:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_reads_take_no_more_than_the_budget_whatever_the_connections() {
    const MANY: usize = 40;
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let (mut open, mut beyond) = (Vec::new(), Vec::new());
            for _ in 0..MANY {
                let mut client = client(&budget, way(FAR), 0).await;
                let (response, mut sending) = begin(&mut client, 4 * LENGTH);
                let sent = sent_unread(&mut sending).await;
                beyond.push(sent.saturating_sub(OWN as usize));
                open.push((client, response, sending));
            }
            assert!(beyond[0] > LENGTH && beyond[MANY - 1] == 0, "{beyond:?}");
            let sum: usize = beyond.iter().sum();
            assert!(sum <= BUDGET / 2, "{sum}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_reads_stop_no_other_and_stay_within_the_share() {
    const MANY: usize = 20;
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let mut client = client(&budget, way(FAR), SHORT).await;
            // All before the client knows of wide windows.
            let mut unread: Vec<_> = (0..MANY).map(|_| begin(&mut client, LENGTH)).collect();
            for (_, sending) in &mut unread {
                sending.send_data(vec![0; LENGTH].into(), true).unwrap();
            }
            upload(&mut client, SHORT).await;
            sleep(LONG).await;
            assert_eq!(taken(&budget), 8 * MIB);
            let next = upload(&mut client, SHORT).await;
            assert!(next < FAR * 3 / 2, "{next:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_a_short_way_gives_its_share_back_at_once() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let mut client = client(&budget, duplex(MIB), EVERYTHING).await;
            upload(&mut client, LENGTH).await;
            assert_eq!(taken(&budget), 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_share_back_when_others_need_it() {
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let mut client = client(&budget, way(FAR), EVERYTHING).await;
            for _ in 0..2 {
                upload(&mut client, SHORT).await;
                sleep(LONG).await;
                assert_eq!(taken(&budget), 8 * MIB);
            }
            let mut others = Share::of(&budget);
            others.grow_to(12 * MIB);
            upload(&mut client, SHORT).await;
            sleep(LONG).await;
            assert_eq!(taken(&budget), 12 * MIB);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_meets_smaller_windows_when_all_of_it_was_read_goes_on() {
    const PIECE: usize = 300_000;
    LocalSet::new()
        .run_until(async {
            let budget = Budget::new(BUDGET);
            let mut client = client(&budget, way(FAR), EVERYTHING).await;
            // The client knows of wide windows after this.
            sleep(FAR).await;
            let (response, mut sending) = begin(&mut client, 2 * PIECE);
            sending.send_data(vec![0; PIECE].into(), false).unwrap();
            sleep(LONG).await;
            // A second upload makes them smaller.
            upload(&mut client, SHORT).await;
            sleep(LONG).await;
            assert_eq!(taken(&budget), 0);
            sending.send_data(vec![0; PIECE].into(), true).unwrap();
            timeout(LONG, response).await.expect("it goes on").unwrap();
        })
        .await;
}
