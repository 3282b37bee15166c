"""Changes of the examples of an arm, or of those that a measure tests: other sizes, zeros around, scenes."""

from fcnjax.lab.changes.changed_sizes import AnySize as AnySize
from fcnjax.lab.changes.changed_sizes import any_size as any_size
from fcnjax.lab.changes.changed_sizes import any_size_of_area as any_size_of_area
from fcnjax.lab.changes.changed_sizes import one_size as one_size
from fcnjax.lab.changes.changed_sizes import with_zeros as with_zeros
from fcnjax.lab.changes.changed_sizes import zeros_to as zeros_to
from fcnjax.lab.changes.scenes import Scenes as Scenes
from fcnjax.lab.changes.scenes import SceneSource as SceneSource
from fcnjax.lab.changes.tone_signals import Tones as Tones
from fcnjax.lab.changes.tone_signals import among_noise as among_noise
from fcnjax.lab.changes.tone_signals import tones as tones
