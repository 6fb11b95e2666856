"""The page of this machine on which photographs are dropped: uploads, a queue, events, results."""
