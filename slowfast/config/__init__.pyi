from .defaults import get_cfg as get_cfg
from .defaults import get_default_config as get_default_config
from .load import load_config as load_config
