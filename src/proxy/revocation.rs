//! What a reload does to open tunnels: those that would not be opened any more are cut.

use super::open_tunnels::{OpenTunnel, Revocation, TunnelAsked};
use super::shard_snapshot::ShardSnapshot;
use super::{connect, upgrade};
use crate::snapshot::Snapshot;

/// Judges every open tunnel of a shard by its new snapshot, and cuts those that would not be opened any more.
pub fn judge_tunnels(shard: &ShardSnapshot) {
    shard.tunnels.judge_again(&shard.snapshot, judge);
}

fn judge(snapshot: &Snapshot, tunnel: &OpenTunnel) -> Result<(), Revocation> {
    match &tunnel.asked {
        TunnelAsked::Connect(asked) => connect::judge_again(snapshot, tunnel, asked),
        TunnelAsked::Upgrade(asked) => upgrade::judge_again(snapshot, tunnel, asked),
    }
}
