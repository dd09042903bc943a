from .decoding import OpenVideo as OpenVideo
from .decoding import decode as decode
from .decoding import open_video as open_video
from .decoding import stream as stream
