"""Tables read and written, by the name that scripts know: `hifrac.core` has them."""

from __future__ import annotations

from hifrac.core.tables import read_table as read_table
from hifrac.core.tables import write_table as write_table
