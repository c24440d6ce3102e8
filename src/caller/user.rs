//! Callers that are known by the user that their process runs as.

use super::Claim;
use crate::policy::CallerIndex;

/// Whose each user is.
#[derive(Debug, Default)]
pub struct UserOwners {
    /// Sorted.
    owners: Box<[(u32, CallerIndex)]>,
}

impl UserOwners {
    /// These users, by their numbers.
    pub fn new(mut owners: Vec<(u32, CallerIndex)>) -> Self {
        owners.sort_unstable();
        let owners = owners.into();
        Self { owners }
    }

    /// Whose a user is.
    pub fn owner(&self, uid: u32) -> Claim<CallerIndex> {
        let first = self.owners.partition_point(|(known, _)| *known < uid);
        let owners = self.owners[first..].iter();
        let owners = owners.take_while(|(known, _)| *known == uid);
        owners.fold(Claim::Nobody, |claim, (_, owner)| {
            claim.and(Claim::Of(*owner))
        })
    }
}
