"""Everyone who takes part, in the order of the table. Another gateway is one more file and one more line here."""

from __future__ import annotations

from typing import Final

from bench.contenders.contender import Contender
from bench.contenders.direct import Direct
from bench.contenders.litellm import LiteLLM
from bench.contenders.nginx import Nginx
from bench.contenders.portkey import Portkey
from bench.contenders.quaymaster import Quaymaster

CONTENDERS: Final[tuple[Contender, ...]] = (Direct(), Nginx(), Quaymaster(), Portkey(), LiteLLM())
