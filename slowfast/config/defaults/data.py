"""Keys of the data: videos, frames, augmentation, mixing and loading."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

KEYS.DATA = CfgNode()
# Folder of train.csv, val.csv and test.csv (or one csv file). For the data set "shards" the folder of train/,
# val/ and test/ with *.tar, or a pattern such as shards/{split}/shard-{000000..000010}.tar.
KEYS.DATA.PATH_TO_DATA_DIR = ""
KEYS.DATA.PATH_LABEL_SEPARATOR = " "
# Folder in front of every path of a csv.
KEYS.DATA.PATH_PREFIX = ""
# (new) File of class names for tests, predictions and TensorBoard: JSON (name -> index, index -> name, or a
# list), or text with one name per line; PySlowFast's name is TENSORBOARD.CLASS_NAMES_PATH. Empty: the names
# saved in the checkpoint, else those of classes.json in PATH_TO_DATA_DIR, else, in training, those of the
# data set's annotations or folders.
KEYS.DATA.CLASS_NAMES = ""
# (new) For the data set "shards" with DATA_LOADER.TRAIN_SAMPLER shuffle: number of shards that are read at a
# time, in a new order per epoch, and whose videos are shuffled together; 0: all of them.
KEYS.DATA.SHUFFLE_SHARDS = 16
# (new) Official split of ucf101 and hmdb51: 1, 2, 3.
KEYS.DATA.FOLD = 1
# (new) Frame rate of the data set "frames", whose videos are folders of images.
KEYS.DATA.IMAGE_FPS = 30.0
# (new) For the data set "frames": the names of the images in each folder, such as img_{:05d}.jpg. Empty: all
# images; then a folder must not contain several sequences.
KEYS.DATA.IMAGE_TEMPLATE = ""
KEYS.DATA.NUM_FRAMES = 8
# Distance between neighbouring frames of a clip, in frames at TARGET_FPS. For models that encode clips,
# NUM_FRAMES 0 means the length of one clip, and SAMPLING_RATE 0 means the frame rate of the model's training,
# which then replaces TARGET_FPS.
KEYS.DATA.SAMPLING_RATE = 8
KEYS.DATA.TARGET_FPS = 30
KEYS.DATA.INPUT_CHANNEL_NUM = [3, 3]
KEYS.DATA.MEAN = [0.45, 0.45, 0.45]
KEYS.DATA.STD = [0.225, 0.225, 0.225]
# (new) data: MEAN and STD above; backbone: the values that the model's weights were trained with.
KEYS.DATA.NORMALIZATION = "data"
# (new) Interpolation by which frames are scaled: bilinear, bicubic, or backbone for the one that the model's
# weights were trained with.
KEYS.DATA.INTERPOLATION = "bilinear"
# Short side of training frames, drawn uniformly between the two values. Tests scale the short side to
# TEST_CROP_SIZE for several crops, and to the smaller of the two values for one crop.
KEYS.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Random resized crop instead: smallest and largest fraction of the frame's area, such as [0.08, 1.0], and
# range of width / height (empty: 3/4 to 4/3).
KEYS.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
KEYS.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
# Pixels; 0: the size that the model's weights were trained with.
KEYS.DATA.TRAIN_CROP_SIZE = 224
KEYS.DATA.TEST_CROP_SIZE = 256
# (new) Test and predict on the whole picture in its own aspect ratio, its short side scaled to
# TEST_CROP_SIZE, instead of on a square crop; for models that accept frames of any size.
KEYS.DATA.TEST_WHOLE_PICTURE = False
# (new) Both sides of whole pictures are rounded to multiples of this many pixels; 0: of the smallest number
# that the model accepts.
KEYS.DATA.TEST_PICTURE_MULTIPLE = 0
# (new) Frames of each training clip, drawn uniformly between the two values, such as [12, 16]; empty:
# NUM_FRAMES. Evaluation uses NUM_FRAMES, or TRAIN.EVAL_NUM_FRAMES.
KEYS.DATA.TRAIN_JITTER_NUM_FRAMES = []
# (new) With TRAIN.FULL_VIDEO: fraction of the video, at a random time, over which the frames of a training
# clip are spread, drawn uniformly between the two values, such as [0.7, 1.0]; empty: the full video.
KEYS.DATA.TRAIN_JITTER_DURATION = []
# Draw the inverse of the short side uniformly instead of the short side.
KEYS.DATA.INV_UNIFORM_SAMPLE = False
KEYS.DATA.RANDOM_FLIP = True
# Videos may have several classes.
KEYS.DATA.MULTI_LABEL = False
# How the scores of a video's views are merged: sum, max.
KEYS.DATA.ENSEMBLE_METHOD = "sum"
KEYS.DATA.REVERSE_INPUT_CHANNEL = False
# Decoder of clips: pyav, torchcodec. PyAV decodes what is read in chunks: long views and feature caches.
KEYS.DATA.DECODING_BACKEND = "pyav"
# (new) Read the frames and pixels of the original VTN, to evaluate published weights as published.
KEYS.DATA.ORIGINAL_SEMANTICS = False
# (new) Largest fraction of broken videos per training epoch; above it the run ends.
KEYS.DATA.MAX_BROKEN_FRACTION = 0.1
# (new) Folder of features that `slowfast extract` has extracted from the same videos. They replace
# the frames. Empty: frames are decoded.
KEYS.DATA.FEATURES = ""
# (new) Features per second, for the cache and for files of the data set "features" without times. Plans of
# frames then count features. 0: one feature for every frame of the video.
KEYS.DATA.FEATURES_FPS = 0.0
# (new) Layout of the files of the data set "features": frames_first (frames, width), frames_last (width,
# frames).
KEYS.DATA.FEATURES_LAYOUT = "frames_first"

KEYS.AUG = CfgNode()
KEYS.AUG.ENABLE = False
# Repeated augmentation: clips of each video per step. A step then has NUM_SAMPLE × TRAIN.BATCH_SIZE clips.
# Needs AUG.ENABLE for frames; clips of features differ in their times alone.
KEYS.AUG.NUM_SAMPLE = 1
# RandAugment policy by timm's name; empty: colour jitter by 1 ± COLOR_JITTER instead.
KEYS.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
KEYS.AUG.COLOR_JITTER = 0.4
# Interpolation of RandAugment's rotations and shears: bilinear, bicubic, random.
KEYS.AUG.INTERPOLATION = "bicubic"
# Random erasing: fraction of the clips, filling (pixel, rand, const), largest number of erased rectangles.
KEYS.AUG.RE_PROB = 0.25
KEYS.AUG.RE_MODE = "pixel"
KEYS.AUG.RE_COUNT = 1

KEYS.MIXUP = CfgNode()
KEYS.MIXUP.ENABLE = False
# Parameters of the beta distributions of the mixing ratio in Mixup and CutMix; 0: not used.
KEYS.MIXUP.ALPHA = 0.8
KEYS.MIXUP.CUTMIX_ALPHA = 1.0
# Fraction of the pairs of clips that are mixed, and fraction of those that are mixed by CutMix.
KEYS.MIXUP.PROB = 1.0
KEYS.MIXUP.SWITCH_PROB = 0.5
# Fraction of each label that is divided equally among all classes, as LOSS.LABEL_SMOOTHING does without
# MIXUP. For several classes per video the label of each class is moved towards 0.5 by this fraction.
KEYS.MIXUP.LABEL_SMOOTH_VALUE = 0.1

KEYS.DATA_LOADER = CfgNode()
# Workers per process.
KEYS.DATA_LOADER.NUM_WORKERS = 8
KEYS.DATA_LOADER.PIN_MEMORY = True
# (new) A name in SAMPLER_REGISTRY, which orders the training samples: shuffle (every video once per epoch),
# balanced (all classes equally often), square_root (a class in proportion to the root of its size).
KEYS.DATA_LOADER.TRAIN_SAMPLER = "shuffle"
# (new) Seconds that a worker may take to read one view of a video while the run waits for it. After that the
# worker is replaced and the video counts as broken. Needs NUM_WORKERS of 1 or more. 0: no limit.
KEYS.DATA_LOADER.SAMPLE_TIMEOUT = 300.0
