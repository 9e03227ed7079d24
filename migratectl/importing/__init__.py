"""
Building tasks from the text files of Linux.

What numa_maps does not tell is planned by linux/placement.py; here the plan meets the state. Decisions of this room,
each said as an assumption where it was needed:

* A page of a file that an earlier task maps too is that task's page: the later task gets another pte on it, and it
  stays where it is. It then has as many mappers as the larger of the two mapmax tells.
* Files are told apart by their path, deleted ones by their inode number too. Objects without a real name (shared
  anonymous memory, memfd, private System V segments) are the task's own unless maps tells the inode number.
* Tasks that are relatives share anonymous pages as family.py tells.
* Pages of no file that are not anonymous, such as the vdso, are pages of an object without name, in a reserved area.
* Writeback of an import ends at the first wait for it. A page in the swap cache needs a free slot, else it is imported
  outside of the swap cache.
* Locked memory is placed where smaps marks whole areas and status covers them; else it is said that it is not. What is
  swapped out is left out, as nothing tells which pages it is.
* The cpusets of the tree come in as their files say, with tasks or without; of version 2 with the effective sets. One
  that a task is in and that has no files is made, and those above it, with the nodes and CPUs that its tasks may use.
* Memory in use that the imported tasks do not hold stays in use by others; where the tasks hold more than was in use,
  nothing is left for others.
"""
