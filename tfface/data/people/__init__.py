"""Sources of people: whoever stands in front of the camera, behind one interface (``base.PeopleSource``)."""
