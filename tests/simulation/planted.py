"""Where each bug that is planted in the rules is caught by the simulation."""

from __future__ import annotations

RANDOM = {
    "fast_quorum_is_the_classic_one": "3",
    "a_voter_counts_twice": "3",
    "a_promise_counts_as_acceptance": "5",
    "a_vote_ignores_promises": "3",
    "a_replay_ignores_promises": "4",
    "a_promise_is_lost_in_a_crash": "5",
    "accept_wants_more_than_the_promise": "5",
    "recovery_ignores_unseen_votes": "5",
    "recovery_takes_any_vote": "4",
    "recovery_takes_no_vote": "5",
    "a_no_that_names_oneself_is_a_loss": "3",
    "told_before_the_accept_quorum": "3",
    "told_from_the_local_ledger": "4",
    "settled_by_a_classic_quorum_of_fast_votes": "5",
    "settled_by_the_highest_accepted": "5",
    "settled_by_any_confirmation": "3",
    "settled_by_one_tenure_at_several_ballots": "5",
    "a_vacancy_forgets_the_slot": "5",
    "votes_do_not_tell_the_slot_of_the_vacancy": "5",
    "nobody_asks_whether_the_slot_was_had": "4",
    "a_slot_is_had_only_where_it_is_the_newest": "4",
    "each_attempt_has_a_new_claim": "3",
    "pending_is_forgotten": "5",
    "whoever_is_overtaken_goes_on": "5",
    "pending_terms_bind_nothing": "5",
    "a_stand_is_void_one_voter_early": "3all",
    "a_stand_is_always_void": "5",
}
"""The shape in which random schedules catch a bug soonest."""

ENOUGH = 1500
"""Several times what the slowest of them takes."""

DIRECTED = {
    "a_late_copy_of_the_base_undoes_a_vote": "h1_a_late_copy_of_the_base_does_not_undo_a_vote",
    "a_no_that_names_oneself_is_a_loss": "h2_a_no_may_name_oneself",
    "no_without_an_upper_bound": "h3_a_no_from_above_proves_nothing",
    "a_stand_promises_nothing": "h3_a_vote_promises_the_ballot_too",
    "one_no_suffices": "h4_one_no_proves_nothing",
    "told_from_the_local_ledger": "h5_the_local_ledger_is_only_a_hint",
    "pending_is_forgotten": "h6_an_election_takes_effect_once",
    "pending_is_ignored_in_a_look": "h3_a_no_from_above_proves_nothing",
    "pending_terms_bind_nothing": "h6_an_election_takes_effect_once",
    "each_attempt_has_a_new_claim": "h6_a_recall_knows_its_own_vacancy",
    "told_before_the_accept_quorum": "h8_nothing_is_told_before_a_quorum_accepted_it",
    "a_look_tells_whatever_is_pending": "a_look_tells_nothing_while_a_higher_term_is_pending",
    "no_although_something_newer_is_accepted": "what_is_accepted_outweighs_what_is_confirmed",
    "replies_of_other_attempts_count": "replies_to_others_do_not_count",
    "votes_at_a_classic_ballot_count_as_yes": "a_classic_acceptance_is_no_vote",
}

CHANGES = {
    "a_record_is_entered_when_it_is_accepted": "3-5",
    "an_older_epoch_is_not_refused": "3-others",
    "the_new_voters_alone_are_a_joint_quorum": "1-3",
    "the_old_voters_alone_are_a_joint_quorum": "3-4",
    "nodes_stand_in_a_joint_epoch": "1-3",
    "fast_votes_of_old_are_judged_by_the_new_roll": "1-3",
    "nothing_is_carried_over": "1-3",
    "roles_are_carried_by_the_new_voters_only": "1-3",
    "the_new_voters_list_the_roles": "1-3",
    "a_second_coordinator_trusts_the_first": "1-3",
}
"""The course in which random schedules catch a bug planted in changes of the electorate.

The others are caught by the situations of `change_situations.py`. From 3 to 4 most would hide: each quorum of
four voters meets each of three of them.
"""

ENOUGH_CHANGES = 200
"""Several times what the slowest of them takes."""
